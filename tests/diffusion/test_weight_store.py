"""Weights that rest on the CPU or in 8 bits, with a UNet on a device of its own (`tests/budget_device.py`)."""

from itertools import pairwise

import pytest
import torch

from animdiff_cli.core.windows import Windows
from animdiff_cli.diffusion.weight_store import WeightStore, compute_device
from animdiff_cli.motion import plug
from tests import budget_device

UNIT_BYTES = 200_000


@pytest.fixture
def called(make_unet, make_motion):
    """Call a plugged UNet twice: the last output, the peak of memory, and what is left."""

    @torch.no_grad()
    def call(rest=None, *, hold=False, fp8=False, windows=()):
        unet = make_unet(dtype=torch.float32)
        motion = plug(unet, make_motion(unet))
        generator = torch.Generator().manual_seed(3)
        latents, text = (torch.randn(*shape, generator=generator) for shape in ((6, 4, 8, 8), (6, 7, 24)))
        with budget_device.memory() as meter:
            device = budget_device.budget_device()
            if rest is None:
                unet.to(device)
                motion.to(device)
            else:
                store = WeightStore([unet, motion], device, torch.float32, unit_bytes=UNIT_BYTES)
                if fp8:
                    store.compress()
                store.rest(torch.device("cpu") if rest == "cpu" else device, hold=hold)
            assert unet.device == compute_device(unet) == device
            for _ in range(2):
                with motion.frames(6, windows):
                    output = unet(latents.to(device), torch.tensor(5), text.to(device)).sample.cpu()
            held = meter.now
            if rest is not None:
                store.release()
            return output, meter.peak, held, meter.now

    return call


@pytest.mark.parametrize(
    "windows", [(), pytest.param(Windows(6, 4, 2).at(0, 1), marks=pytest.mark.full)], ids=["whole", "windows"]
)
def test_streamed_and_held_weights_compute_the_same(called, windows):
    """Streamed ones need a fraction of the memory, held ones all of it until they are released."""
    output, peak, _, _ = called(windows=windows)
    streamed, streamed_peak, _, left = called("cpu", windows=windows)
    held, held_peak, while_held, after = called("cpu", hold=True, windows=windows)
    assert torch.equal(streamed, output) and torch.equal(held, output)
    assert streamed_peak < 0.5 * peak and held_peak > 0.95 * peak
    assert left == after < 0.2 * while_held


def test_fp8_weights_compute_the_same_wherever_they_rest(called):
    output, peak, _, _ = called()
    on_device, fp8_peak, _, _ = called("device", fp8=True)
    streamed, streamed_peak, _, _ = called("cpu", fp8=True)
    assert torch.equal(streamed, on_device) and not torch.equal(streamed, output)
    assert streamed_peak < fp8_peak < 0.6 * peak


def test_fp8_rounds_to_four_bits_at_every_size_of_weights(make_unet):
    """The scale of each row makes up for the small range of FP8: relative errors are those of its 3 mantissa bits."""
    unet = make_unet(dtype=torch.float32)
    before = {name: weight.clone() for name, weight in unet.named_parameters()}
    for scale, weight in zip((1e-4, 1.0, 1e4), (w for w in unet.parameters() if w.dim() > 1), strict=False):
        weight.data *= scale
    before = {name: weight.detach().clone() for name, weight in unet.named_parameters()}
    store = WeightStore([unet], torch.device("cpu"), torch.float32, unit_bytes=UNIT_BYTES)
    store.compress()
    for unit in store._units:
        store.enter(unit)
    errors = {}
    for name, weight in unet.named_parameters():
        if weight.dim() > 1:
            rows = before[name].flatten(1).abs().amax(1).view(-1, *[1] * (weight.dim() - 1))
            errors[name] = ((weight - before[name]).abs() / rows).max()
        else:
            assert torch.equal(weight, before[name])
    assert 0 < max(errors.values()) <= 2.0**-4
    assert not any(error for name, error in errors.items() if "embed" in name or name.startswith("conv_"))


def test_a_failing_layer_leaves_its_weights_at_rest(make_unet):
    unet = make_unet(dtype=torch.float32)
    with budget_device.memory() as meter:
        device = budget_device.budget_device()
        store = WeightStore([unet], device, torch.float32, unit_bytes=UNIT_BYTES)
        store.rest(torch.device("cpu"))
        resting = meter.now
        meter.budget = resting + 2_000_000
        latents = torch.zeros(64, 4, 32, 32).to(device)
        with pytest.raises(torch.OutOfMemoryError), torch.no_grad():
            unet(latents, torch.tensor(5), torch.zeros(64, 7, 24))
        meter.budget = None
        del latents
        store.release()
        devices = [parameter.device.type for unit in store._units for parameter in unit.parameters()]
        assert set(devices) == {"cpu"} and meter.now == resting


def test_units_follow_each_other(make_unet):
    """The next unit is copied while one runs: the order is that of the last call."""
    unet = make_unet(dtype=torch.float32)
    with budget_device.memory(), torch.no_grad():
        device = budget_device.budget_device()
        store = WeightStore([unet], device, torch.float32, unit_bytes=UNIT_BYTES)
        store.rest(torch.device("cpu"))
        for _ in range(2):
            unet(torch.zeros(1, 4, 8, 8).to(device), torch.tensor(5), torch.zeros(1, 7, 24).to(device))
        order = list(store._after.items())
        assert len(order) >= len(store._units) - 1
        assert all(after is following for (_, after), (following, _) in pairwise(order))
        assert store._ahead is not None and store._ahead[0] is store._after[store._last]
