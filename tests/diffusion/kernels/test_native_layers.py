"""Group norm and convolution in C++ beside torch's own."""

import copy

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import nn

from animdiff_cli.core.windows import WeightedWindow
from animdiff_cli.diffusion.kernels import cpu, install, native, native_layers
from animdiff_cli.diffusion.kernels.cpu import CpuKernels
from animdiff_cli.motion import plug
from tests.diffusion.kernels import norms

pytestmark = [
    pytest.mark.usefixtures("inference"),
    pytest.mark.skipif(native.library() is None, reason="needs Linux, AVX2 and g++"),
]

ROUNDING = {torch.float32: 2e-5, torch.bfloat16: 0.03}
DTYPES = pytest.mark.parametrize("dtype", ROUNDING)


def close(found, exact, dtype=torch.float32, tolerance=None):
    assert found.dtype == dtype and found.shape == exact.shape
    torch.testing.assert_close(found.double(), exact, atol=tolerance or ROUNDING[dtype], rtol=ROUNDING[dtype])


def check_norm(hidden, groups, tolerance=None, **options):
    weight, bias = (torch.randn(hidden.shape[1]).to(hidden.dtype) for _ in range(2))
    found = native_layers.group_norm(hidden, groups, weight, bias, 1e-5, **options)
    close(found, norms.exactly(hidden, groups, weight, bias, **options), hidden.dtype, tolerance)
    return found


@DTYPES
@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((2, 64, 8, 8), 32),
        ((2, 40, 6, 5), 4),
        ((1, 80, 3, 7), 4),
        ((2, 16, 1, 1), 8),
        ((1, 12, 9), 3),
        ((1, 3, 70), 1),
    ],
)
def test_norm_of_any_shape(dtype, shape, groups):
    hidden = torch.randn(shape).to(dtype)
    check_norm(hidden, groups)
    found = check_norm(hidden * 4, groups, added=torch.randn(shape[:2]).to(dtype), silu=True)
    assert found.movedim(1, -1).is_contiguous()


@pytest.mark.parametrize("case", norms.CASES)
def test_norm(case):
    case(check_norm)


def test_norm_of_extreme_numbers():
    """SiLU neither overflows nor hides what is not finite."""
    weight, bias = torch.tensor([1e30, 1.0]), torch.zeros(2)
    hidden = torch.randn(1, 2, 4, 4)
    found = native_layers.group_norm(hidden, 2, weight, bias, 1e-5, silu=True)
    assert (
        (found[0, 0] > 1e29).any() and (found[0, 0][found[0, 0] < 1e25].abs() < 1e-6).all() and found.isfinite().all()
    )
    hidden[0, 1, 2, 2] = torch.nan
    found = native_layers.group_norm(hidden, 2, weight, bias, 1e-5, silu=True)
    assert found[0, 1].isnan().all() and found[0, 0].isfinite().all()


@DTYPES
@pytest.mark.parametrize("size", [(8, 8), (3, 3), (16, 9), (7, 6), (11, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_convolution(dtype, size, bias):
    layer = nn.Conv2d(48, 64, 3, padding=1, bias=bias).to(dtype)
    hidden = torch.randn(3, 48, *size).to(dtype)
    found = native_layers.convolution(hidden, layer.weight, layer.bias)
    close(found, copy.deepcopy(layer).double()(hidden.double()), dtype)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("images", [1, 5, 9])
def test_tiles_are_divided_among_threads(monkeypatch, threads, images):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    layer, hidden = nn.Conv2d(16, 32, 3, padding=1), torch.randn(images, 16, 5, 10)
    close(native_layers.convolution(hidden, layer.weight, layer.bias), copy.deepcopy(layer).double()(hidden.double()))


def test_convolution_is_of_the_weights_as_they_are():
    layer, hidden = nn.Conv2d(16, 32, 3, padding=1), torch.randn(1, 16, 16, 16)
    with CpuKernels():
        layer(hidden)
        layer.weight.mul_(2)
        close(layer(hidden), copy.deepcopy(layer).double()(hidden.double()))
        layer.weight.data = torch.randn(32, 16, 3, 3) / 12
        close(layer(hidden), copy.deepcopy(layer).double()(hidden.double()))
        for _ in range(3):  # the second may get the memory of weights that were dropped
            layer.weight.data = torch.randn(32, 16, 3, 3) / 12
            layer.weight.data = torch.randn(32, 16, 3, 3) / 12
            close(layer(hidden), copy.deepcopy(layer).double()(hidden.double()))
        before = len(native_layers._prepared)
        del layer
        assert len(native_layers._prepared) == before - 1


@pytest.mark.parametrize("change", [lambda w: w.data.mul_(2), lambda w: w.detach().numpy().__imul__(2)])
def test_weights_are_prepared_anew_in_every_context(change):
    """Changes of `data` count no version."""
    layer, hidden = nn.Conv2d(16, 32, 3, padding=1), torch.randn(1, 16, 16, 16)
    with CpuKernels():
        layer(hidden)
    change(layer.weight)
    with CpuKernels():
        close(layer(hidden), copy.deepcopy(layer).double()(hidden.double()))


def test_prepared_weights_do_not_depend_on_the_number_of_threads():
    weight, threads, found = nn.Parameter(torch.randn(160, 160, 3, 3)), torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            native_layers.forget_weights()
            found.append(native_layers._at_points(weight, 32))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_what_is_not_finite_is_not_hidden_by_a_convolution():
    layer, hidden = nn.Conv2d(16, 32, 3, padding=1), torch.randn(1, 16, 12, 12)
    hidden[0, 3, 5, 5] = torch.nan
    found = native_layers.convolution(hidden, layer.weight, layer.bias)
    assert found[0, :, 4:7, 4:7].isnan().all() and found[0, :, 8:].isfinite().all()


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.Conv2d(4, 32, 3, padding=1), 8),
        (nn.Conv2d(32, 4, 3, padding=1), 8),
        (nn.Conv2d(32, 32, 3, padding=1), 2),
        (nn.Conv2d(32, 32, 3, padding=1, stride=2), 8),
        (nn.Conv2d(32, 32, 3, padding=1, groups=2), 8),
        (nn.Conv2d(32, 32, 3, padding=2, dilation=2), 8),
        (nn.Conv2d(32, 32, 3, padding="same"), 8),
        (nn.Conv2d(32, 32, 3), 8),
        (nn.Conv2d(32, 32, 5, padding=1), 8),
        (nn.Conv2d(64, 96, 1), 8),
        (nn.Conv2d(64, 96, 1, bias=False), 8),
        (nn.Conv2d(64, 96, 1, stride=2), 8),
        (nn.Conv2d(32, 32, 3, padding=1, padding_mode="circular"), 8),
    ],
    ids=str,
)
def test_other_convolutions_compute_the_same(layer, size):
    """All of them are channels-last, so that what follows does not convert."""
    hidden = torch.randn(2, layer.in_channels, size, size)
    with CpuKernels():
        found = layer(hidden)
    close(found, copy.deepcopy(layer).double()(hidden.double()))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_convolutions_with_gradients_are_left_to_torch():
    layer, hidden = nn.Conv2d(32, 32, 3, padding=1), torch.randn(2, 32, 8, 8)
    with torch.enable_grad(), CpuKernels():
        layer(hidden).sum().backward()
    assert layer.weight.grad is not None
    assert cpu.convolution(hidden[0], layer.weight, layer.bias, 1, 1) is None
    with CpuKernels(), pytest.raises(RuntimeError, match="channels"):
        layer(hidden[:, :16])


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_unet_with_motion_computes_the_same(make_unet, make_motion, version):
    """v1 normalizes across frames; windows inside the UNet replace what its norms return."""
    unet = make_unet("one-level", dtype=torch.float32)
    motion = plug(unet, make_motion(unet, version).float())
    latents, text = torch.randn(4, 4, 8, 8), torch.randn(4, 77, unet.config.cross_attention_dim)
    windows = [(), (WeightedWindow((0,), (0.5,)), WeightedWindow((0, 1), (0.5, 1.0)))]

    def run():
        outputs = []
        for inside in windows[: 2 if version == "v1" else 1]:
            with motion.frames(2, inside):
                outputs.append(unet(latents, torch.tensor(5), text, return_dict=False)[0])
        return outputs

    plain = run()
    with install(unet, motion) as installed:
        assert sum(isinstance(layer, nn.GroupNorm) for layer, _ in installed.replaced) > 5
        fast = run()
    for one, other in zip(fast, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    for before, after in zip(plain, run(), strict=True):
        assert torch.equal(before, after)


def test_autoencoder_computes_the_same(monkeypatch):
    vae = AutoencoderKL(block_out_channels=(32,), norm_num_groups=4, layers_per_block=1).eval()
    latents, image = torch.randn(2, 4, 8, 8), torch.randn(1, 3, 8, 8)
    plain = vae.decode(latents).sample, vae.encode(image).latent_dist.mean
    silus = []
    monkeypatch.setattr(F, "silu", lambda *args, **_: silus.append(1) or torch.sigmoid(args[0]) * args[0])
    with install(vae):
        fast = vae.decode(latents).sample, vae.encode(image).latent_dist.mean
    assert not silus, "every SiLU is inside of a norm"
    for one, other in zip(fast, plain, strict=True):
        assert not torch.equal(one, other)
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
