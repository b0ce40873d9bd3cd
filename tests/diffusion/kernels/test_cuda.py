"""The Triton kernels, interpreted on the CPU, beside torch's own layers."""

import copy

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel

from animdiff_cli.core.windows import WeightedWindow
from animdiff_cli.diffusion.kernels import install, replace_forwards
from animdiff_cli.motion import module, plug, plugged
from tests.diffusion.kernels import norms

pytest.importorskip("triton")  # Linux only

from animdiff_cli.diffusion.kernels import cuda, geglu, group_norm

ROUNDING = {torch.float32: 2e-5, torch.bfloat16: 0.06, torch.float16: 8e-3}


@pytest.fixture(autouse=True)
def interpreter():
    assert cuda.IS_INTERPRETED
    with torch.no_grad():
        yield


@pytest.fixture
def few_programs(monkeypatch):
    """Run few programs, since each takes ten milliseconds to interpret."""
    monkeypatch.setattr(module, "NORM_GROUPS", 2)
    monkeypatch.setattr(geglu, "BLOCK", 8192)
    monkeypatch.setattr(group_norm, "PROGRAMS", 1)
    monkeypatch.setattr(group_norm, "BLOCK_ROWS", 256)
    monkeypatch.setattr(group_norm, "BLOCK_CHANNELS", 128)


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        block_out_channels=(32,),
        layers_per_block=1,
        cross_attention_dim=24,
        norm_num_groups=2,
    ).eval()


def check(hidden, groups, dtype=torch.float32, tolerance=None, **options):
    generator = torch.Generator().manual_seed(1)
    weight, bias = (torch.randn(hidden.shape[1], generator=generator).to(dtype) for _ in range(2))
    found = group_norm.group_norm(hidden, groups, weight, bias, 1e-5, **options)
    assert found.shape == hidden.shape and found.dtype == hidden.dtype
    expected = norms.exactly(hidden, groups, weight, bias, **options)
    torch.testing.assert_close(found.double(), expected, atol=tolerance or ROUNDING[dtype], rtol=ROUNDING[dtype])
    return found


@pytest.mark.parametrize("dtype", ROUNDING)
def test_norm_with_embedding_and_silu_of_any_dtype(dtype):
    hidden = torch.randn(2, 40, 6, 5).to(dtype, memory_format=torch.channels_last)
    found = check(hidden, 4, dtype, added=torch.randn(2, 40).to(dtype), silu=True)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("shape", "groups"),
    [((1, 80, 3, 7), 4), ((1, 120, 2, 2), 4), ((2, 16, 1, 1), 8), ((1, 12, 9), 3)],
    ids=["20 channels a group", "30 channels a group", "one pixel", "tokens"],
)
def test_norm_of_odd_shapes(shape, groups):
    check(torch.randn(shape), groups)


def test_norm_of_large_pictures_is_split_over_blocks(monkeypatch):
    monkeypatch.setattr(group_norm, "PROGRAMS", 5)  # as a picture with more rows than 64 splits of one block
    check(torch.randn(1, 6, 37, 11), 3, silu=True)


@pytest.mark.parametrize("case", norms.CASES)
def test_norm(case):
    case(check)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_gate_of_geglu(dtype):
    projected = torch.randn(2, 3, 2 * 1030).to(dtype) * 3
    value, gate = projected.double().chunk(2, dim=-1)
    found = geglu.gated(projected).double()
    torch.testing.assert_close(found, value * F.gelu(gate), atol=ROUNDING[dtype], rtol=ROUNDING[dtype])


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_unet_with_motion_computes_the_same(unet, make_motion, few_programs, version):
    """v1 normalizes across frames; windows inside the UNet replace what its norms return."""
    motion = plug(unet, make_motion(unet, version))
    latents, text = torch.randn(2, 4, 2, 2), torch.randn(2, 2, 24)
    windows = [(), (WeightedWindow((0,), (0.5,)), WeightedWindow((0, 1), (0.5, 1.0)))]

    def run():
        outputs = []
        for inside in windows[: 2 if version == "v1" else 1]:
            with motion.frames(2, inside):
                outputs.append(unet(latents, torch.tensor(5), text, return_dict=False)[0])
        return outputs

    plain = run()
    with replace_forwards([*cuda.replacements(unet), *cuda.replacements(motion)]) as installed:
        fast = run()
    assert len(installed.replaced) > 10
    for one, other in zip(fast, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert any(not torch.equal(one, other) for one, other in zip(fast, plain, strict=True))
    for before, after in zip(plain, run(), strict=True):
        assert torch.equal(before, after)


def test_autoencoder_computes_the_same(few_programs):
    torch.manual_seed(0)
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=2, layers_per_block=1).eval()
    latents, image = torch.randn(1, 4, 4, 4), torch.randn(1, 3, 4, 4)
    plain = vae.decode(latents).sample, vae.encode(image).latent_dist.mean
    with replace_forwards(cuda.replacements(vae)):
        fast = vae.decode(latents).sample, vae.encode(image).latent_dist.mean
    for one, other in zip(fast, plain, strict=True):
        assert not torch.equal(one, other)
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_training_runs_the_plain_path(unet, make_motion):
    motion = plug(unet, make_motion(unet))
    twin = copy.deepcopy(unet)
    replace_forwards([*cuda.replacements(unet), *cuda.replacements(motion)])
    latents, text = torch.randn(2, 4, 4, 4), torch.randn(2, 2, 24)
    losses = []
    for network in (unet, twin):
        with torch.enable_grad(), plugged(network).motion.frames(2):
            losses.append(network(latents, 5, text, return_dict=False)[0].square().mean())
            losses[-1].backward()
    assert torch.equal(*losses)
    for parameter, other in zip(unet.parameters(), twin.parameters(), strict=True):
        assert torch.equal(parameter.grad, other.grad)


def test_nothing_is_installed_on_a_cpu(unet):
    assert not [forward for _, forward in install(unet).replaced if getattr(forward, "__self__", None) is cuda.NORMS]


def test_float64_keeps_the_plain_path(make_unet):
    assert not list(cuda.replacements(make_unet("one-level")))


def test_matrices_in_8_bits_keep_the_kernels(unet):
    expected = len(list(cuda.replacements(unet)))
    unet.conv_in.weight.data = unet.conv_in.weight.data.to(torch.float8_e4m3fn)
    assert len(list(cuda.replacements(unet))) == expected > 10
