"""The faster arithmetic of CPUs beside torch's own."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from torch import nn

from animdiff_cli import load
from animdiff_cli.diffusion.kernels import attention_products, cpu, install, native, native_layers
from animdiff_cli.diffusion.kernels.cpu import CpuKernels
from animdiff_cli.motion import module, plug, plugged

pytestmark = pytest.mark.usefixtures("inference")

ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 0.02}
DTYPES = pytest.mark.parametrize("dtype", ROUNDING)


@pytest.fixture(params=["compiled", "operators"])
def way(request, monkeypatch):
    """Attention in C++, and as where it cannot be compiled."""
    if request.param == "operators":
        monkeypatch.setattr(native, "library", lambda: None)
    elif native.library() is None:
        pytest.skip("needs Linux, AVX2 and g++")


def faster(function, *args, **options):
    with CpuKernels():
        return function(*args, **options)


def check(found, exact, dtype):
    assert found.dtype == dtype and found.shape == exact.shape
    torch.testing.assert_close(found.double(), exact, atol=ROUNDING[dtype], rtol=ROUNDING[dtype])


def heads(shape, dtype, spread=1.0):
    """Split tokens [B, P, C] into heads: views, as a UNet has them."""
    batch, count, tokens, width = shape
    return (
        (torch.randn(batch, tokens, count * width) * spread).to(dtype).view(batch, tokens, count, width).transpose(1, 2)
    )


@DTYPES
@pytest.mark.parametrize(
    ("queries", "keys", "width"),
    [
        (16, 16, 8),
        (5, 3, 1),
        (64, 64, 16),
        (300, 77, 8),
        (7, 77, 13),
        (1, 1, 16),
        (9, 33, 30),
        (40, 200, 8),
        (40, 130, 40),
    ],
)
@pytest.mark.usefixtures("way")
def test_attention_of_any_size(dtype, queries, keys, width):
    query = heads((2, 3, queries, width), dtype, spread=3)
    key, value = (heads((2, 3, keys, width), dtype) for _ in range(2))
    for options in ({}, {"scale": 0.3}):
        exact = F.scaled_dot_product_attention(query.double(), key.double(), value.double(), **options)
        check(faster(F.scaled_dot_product_attention, query, key, value, **options), exact, dtype)


def test_attention_in_several_parts(monkeypatch):
    monkeypatch.setattr(native, "library", lambda: None)
    monkeypatch.setattr(attention_products, "PART", 1000)
    query, key, value = (heads((2, 5, 12, 8), torch.float32) for _ in range(3))
    exact = F.scaled_dot_product_attention(query.double(), key.double(), value.double())
    check(faster(F.scaled_dot_product_attention, query, key, value), exact, torch.float32)


@pytest.mark.usefixtures("way")
def test_attention_of_one_key_far_above_others():
    """Large scores do not overflow, and keys that fill up a row of scores get nothing."""
    query, value = torch.full((1, 1, 4, 8), 30.0), torch.randn(1, 1, 5, 8)
    key = torch.full((1, 1, 5, 8), -30.0)
    key[0, 0, 2] = 30.0
    found = faster(F.scaled_dot_product_attention, query, key, value)
    torch.testing.assert_close(found, value[:, :, 2:3].expand(1, 1, 4, 8))
    assert torch.isfinite(faster(F.scaled_dot_product_attention, query, key[:, :, :1] * 1e4, value[:, :, :1])).all()


@pytest.mark.usefixtures("way")
def test_numbers_that_are_not_finite_are_not_hidden():
    query, key, value = (heads((1, 1, 40, 8), torch.float32) for _ in range(3))
    query[0, 0, 7, 3] = torch.nan
    found = faster(F.scaled_dot_product_attention, query, key, value)
    assert found[0, 0, 7].isnan().all() and found.isnan().sum() == 8
    key[0, 0, 39, 0] = torch.inf
    assert not faster(F.scaled_dot_product_attention, query, key, value).isfinite().all()


def test_linear_layers_with_a_bias_that_is_expanded():
    tokens, weight, bias = torch.randn(64, 64), torch.randn(10, 64), torch.randn(1)
    torch.testing.assert_close(faster(F.linear, tokens, weight, bias), F.linear(tokens, weight, bias))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        faster(F.linear, tokens, weight[:, :32])


def test_a_geglu_without_bias_runs_the_plain_way():
    layer, tokens = GEGLU(8, 16, bias=False), torch.randn(2, 5, 8)
    exact = layer(tokens)
    with install(layer):
        torch.testing.assert_close(layer(tokens), exact)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.usefixtures("way")
def test_attention_on_several_threads(monkeypatch, threads):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    query, key, value = (heads((2, 4, 20, 8), torch.float32) for _ in range(3))
    exact = F.scaled_dot_product_attention(query.double(), key.double(), value.double())
    check(faster(F.scaled_dot_product_attention, query, key, value), exact, torch.float32)


@pytest.mark.parametrize(
    "options",
    [
        {"attn_mask": torch.tensor([[True, False] * 8]).expand(16, 16)},
        {"is_causal": True},
        {"attn_mask": torch.ones(1, 16)},
    ],
)
def test_masked_attention_is_left_to_torch(options):
    tensors = [heads((1, 2, 16, 8), torch.float32) for _ in range(3)]
    plain = F.scaled_dot_product_attention(*tensors, **options)
    assert torch.equal(faster(F.scaled_dot_product_attention, *tensors, **options), plain)


@DTYPES
@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_of_views(dtype, bias):
    layer = nn.Linear(40, 24, bias=bias).to(dtype)
    exact = copy.deepcopy(layer).double()
    for tokens in (torch.randn(2, 90, 40), torch.randn(2, 40, 90).transpose(1, 2), torch.randn(4, 90, 80)[::2, :, ::2]):
        found = faster(layer, tokens.to(dtype))
        check(found, exact(tokens.to(dtype).double()), dtype)
        assert found.is_contiguous()


@DTYPES
@pytest.mark.parametrize("kind", [GEGLU, module.GEGLU])
def test_geglu(dtype, kind):
    layer = kind(24, 56).to(dtype)
    exact, tokens = copy.deepcopy(layer).double(), torch.randn(2, 3, 35, 24).to(dtype) * 2
    with install(layer) as installed:
        assert installed.replaced
        check(layer(tokens), exact(tokens.double()), dtype)


def test_geglu_sees_what_changes_its_projection():
    """A LoRA beside its weights adds to the output of the projection."""
    layer, tokens = module.GEGLU(24, 56), torch.randn(1, 2, 40, 24)
    layer.proj.register_forward_hook(lambda _layer, _args, output: output + 1)
    plain = layer(tokens)
    with install(layer):
        torch.testing.assert_close(layer(tokens), plain)


def test_what_is_not_supported_is_left_to_torch():
    tensors = [heads((1, 2, 16, 8), torch.float64) for _ in range(3)]
    assert cpu.attention(*tensors) is None
    assert cpu.attention(*(tensor.to("meta", torch.float32) for tensor in tensors)) is None
    query, key = (heads((1, 2, tokens, 8), torch.float32) for tokens in (16, 5))
    for other in ((1, 2, 5, 4), (1, 2, 4, 8), (1, 1, 5, 8)):  # wider or longer values, and values that heads share
        assert cpu.attention(query, key, heads(other, torch.float32)) is None
    assert cpu.attention(query[..., :4], key, key) is None
    assert cpu.linear(torch.randn(100, 64), torch.randn(8, 64, dtype=torch.bfloat16)) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert cpu.linear(torch.randn(100, 64), torch.randn(8, 64)) is None
    assert cpu.linear(torch.randn(100, 64), torch.randn(8, 64)) is not None


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_unet_with_motion_computes_the_same(make_unet, make_motion, version):
    unet = make_unet("one-level", dtype=torch.float32)
    motion = plug(unet, make_motion(unet, version).float())
    latents, text = torch.randn(4, 4, 8, 8), torch.randn(4, 77, unet.config.cross_attention_dim)

    def run():
        with motion.frames(2):
            return unet(latents, torch.tensor(5), text, return_dict=False)[0]

    plain = run()
    with install(unet, motion):
        fast = run()
    torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-4)
    assert not torch.equal(fast, plain)
    assert torch.equal(run(), plain)


def test_training_runs_the_plain_path(make_unet, make_motion):
    unet = make_unet("one-level", dtype=torch.float32)
    plug(unet, make_motion(unet).float())
    twin = copy.deepcopy(unet)
    latents, text = torch.randn(2, 4, 8, 8), torch.randn(2, 77, unet.config.cross_attention_dim)
    losses = []
    with install(unet, plugged(unet).motion):
        for network in (unet, twin):
            with torch.enable_grad(), plugged(network).motion.frames(2):
                losses.append(network(latents, 5, text, return_dict=False)[0].square().mean())
                losses[-1].backward()
    assert torch.equal(*losses)
    for parameter, other in zip(unet.parameters(), twin.parameters(), strict=True):
        assert torch.equal(parameter.grad, other.grad)


def test_a_pocket_clip_differs_by_rounding():
    """In bf16 the plain path is as far from float32 as the faster one."""
    clips = {}
    for dtype in ("fp32", "bf16"):
        animator = load(model="pocket", steps=2, num_frames=2, width=64, height=64, dtype=dtype, device="cpu")
        for kernels in (True, False):
            frames = animator.generate("a red ball", seed=3, kernels=kernels).frames
            clips[dtype, kernels] = np.stack([np.asarray(frame) for frame in frames]).astype(int)
    exact = clips["fp32", False]
    assert np.abs(clips["fp32", True] - exact).max() <= 1
    fast, plain = (np.abs(clips["bf16", kernels] - exact) for kernels in (True, False))
    assert not np.array_equal(clips["bf16", True], clips["bf16", False])
    assert fast.mean() < 1.25 * plain.mean()


@pytest.mark.parametrize(("instructions", "computes"), [("AVX512", True), ("AVX2", False), ("DEFAULT", False)])
def test_products_replace_attention_where_they_are_faster(monkeypatch, instructions, computes):
    monkeypatch.setattr(native, "library", lambda: None)
    monkeypatch.setattr(native, "instruction_set", lambda: instructions)
    tensors = [heads((1, 2, 16, 8), torch.bfloat16) for _ in range(3)]
    assert (cpu.attention(*tensors) is not None) is computes


@pytest.mark.parametrize(
    ("instructions", "keys", "width", "computes"),
    [
        ("AVX512", 400, 8, True),
        ("AVX512", 400, 16, False),  # torch is faster at whole registers
        ("AVX512", 400, 40, True),
        ("AVX512", 20, 16, True),
        ("AVX2", 400, 8, True),
        ("AVX2", 400, 40, False),
        ("AVX2", 20, 16, True),
        ("AVX2", 64, 16, False),
    ],
)
def test_rules_of_where_compiled_attention_is_faster(monkeypatch, instructions, keys, width, computes):
    monkeypatch.setattr(native, "library", lambda: True)
    monkeypatch.setattr(native, "instruction_set", lambda: instructions)
    monkeypatch.setattr(native_layers, "attention", lambda *_: "compiled")
    monkeypatch.setattr(cpu, "attention_in_parts", lambda *_: None)
    query, key = (heads((1, 2, tokens, width), torch.float32) for tokens in (16, keys))
    assert (cpu.attention(query, key, key) == "compiled") is computes
