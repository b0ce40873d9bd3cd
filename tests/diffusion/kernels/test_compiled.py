"""Blocks that `torch.compile` traces: to machine code in `make test-full`, without its code generator elsewhere."""

import pytest
import torch
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch._dynamo.testing import CompileCounter

from animdiff_cli.diffusion.kernels import compiled
from animdiff_cli.diffusion.kernels.compiled import compiled_blocks
from animdiff_cli.diffusion.memory import is_out_of_memory
from animdiff_cli.diffusion.weight_store import WeightStore
from animdiff_cli.errors import DeviceError
from animdiff_cli.motion import MotionSpec
from animdiff_cli.motion.module import TemporalTransformer


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    compiled._compiled.cache_clear()
    with torch.no_grad():
        yield


@pytest.fixture
def counter(monkeypatch):
    """Run what was traced as it is, and count the graphs."""
    counter = CompileCounter()
    monkeypatch.setattr(compiled, "BACKEND", counter)
    return counter


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    return ResnetBlock2D(in_channels=8, temb_channels=4, groups=2).eval()


@pytest.fixture
def block():
    torch.manual_seed(0)
    spec = MotionSpec("v3", ((32,),), (), ((32,),), 4)
    transformer = TemporalTransformer(32, spec).eval()
    torch.nn.init.normal_(transformer.proj_out.weight)
    return transformer


def test_blocks_of_one_shape_are_compiled_once(resnet, counter):
    twin = ResnetBlock2D(in_channels=8, temb_channels=4, groups=2).eval()
    hidden, temb = torch.randn(2, 8, 4, 4), torch.randn(2, 4)
    plain = [layer(hidden, temb) for layer in (resnet, twin)]
    with compiled_blocks(torch.nn.ModuleList([resnet, twin])):
        fast = [layer(hidden, temb) for layer in (resnet, twin) for _ in range(2)]
        assert counter.frame_count == 1
        resnet(torch.randn(2, 8, 2, 2), temb)
        assert counter.frame_count == 2  # another size, with fixed shapes of its own
    for one, other in zip(fast[::2], plain, strict=True):
        torch.testing.assert_close(one, other)
    assert torch.equal(resnet(hidden, temb), plain[0]) and counter.frame_count == 2


def test_hooks_inside_a_block_run(resnet, counter):
    """A LoRA whose scale varies is such a hook; compiled code would leave it out."""
    hidden, temb = torch.randn(2, 8, 4, 4), torch.randn(2, 4)
    with compiled_blocks(resnet):
        before = resnet(hidden, temb)
        resnet.conv2.register_forward_hook(lambda _layer, _args, output: output + 1)
        changed = resnet(hidden, temb)
    assert not torch.allclose(before, changed)
    assert torch.equal(changed, resnet(hidden, temb))


@pytest.mark.parametrize(("unit_bytes", "graphs"), [(400_000, 1), (20_000, 0)], ids=["whole blocks", "parts of blocks"])
def test_streamed_weights_reach_compiled_blocks(counter, unit_bytes, graphs):
    """A block is compiled once whatever weights `--low-vram` brings. One that is moved in parts runs as usual."""
    blocks = nn.ModuleList(ResnetBlock2D(in_channels=32, temb_channels=16, groups=4).eval() for _ in range(2))
    hidden, temb = torch.randn(2, 32, 8, 8), torch.randn(2, 16)
    plain = [layer(hidden, temb) for layer in blocks]
    WeightStore([blocks], torch.device("cpu"), torch.float32, unit_bytes=unit_bytes).rest(torch.device("cpu"))
    with compiled_blocks(blocks):
        for layer, expected in [*zip(blocks, plain, strict=True)] * 2:
            torch.testing.assert_close(layer(hidden, temb), expected)
    assert counter.frame_count == graphs


def test_gradients_and_unusual_motion_run_as_usual(block, counter):
    hidden = torch.randn(2, 32, 2, 2)
    with compiled_blocks(block):
        with torch.enable_grad():
            block(hidden, 2).sum().backward()
        assert block.proj_in.weight.grad is not None
        assert torch.equal(block(hidden, 2, 0.5, ()), type(block).forward(block, hidden, 2, 0.5, ()))
        assert counter.frame_count == 0
        block(hidden, 2, 1.0, ())
    assert counter.frame_count == 1


def test_a_compiler_that_fails_is_an_error_with_a_hint(resnet, monkeypatch):
    def fail(graph, inputs):
        raise RuntimeError("no compiler\nand a long log")

    monkeypatch.setattr(compiled, "BACKEND", fail)
    with compiled_blocks(resnet), pytest.raises(DeviceError, match=r"`--compile on` failed: no compiler$") as caught:
        resnet(torch.randn(2, 8, 4, 4), torch.randn(2, 4))
    assert caught.value.hint == "leave `--compile on` out"


def test_memory_that_runs_out_while_compiling_is_no_failure_of_the_compiler(resnet, monkeypatch):
    def fail(graph, inputs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(compiled, "BACKEND", fail)
    with compiled_blocks(resnet), pytest.raises(RuntimeError) as caught:
        resnet(torch.randn(2, 8, 4, 4), torch.randn(2, 4))
    assert is_out_of_memory(caught.value)  # so that `--low-vram` goes on with less


@pytest.mark.full
def test_compiled_code_computes_the_same_and_is_kept(block, tmp_path, monkeypatch):
    monkeypatch.setenv("ANIMDIFF_CACHE", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    torch.manual_seed(0)
    layers = torch.nn.ModuleList([block, FeedForward(16)]).eval()
    hidden, tokens = torch.randn(4, 32, 4, 4), torch.randn(2, 3, 16)
    plain = block(hidden, 4), layers[1](tokens)
    with compiled_blocks(layers):
        fast = block(hidden, 4), layers[1](tokens)
    for one, other in zip(fast, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert any((tmp_path / "inductor").rglob("*.so"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
