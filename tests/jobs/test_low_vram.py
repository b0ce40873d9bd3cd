"""Renders on a device with a memory budget (`tests/budget_device.py`): what is where, and what happens at the limit."""

from dataclasses import replace

import numpy as np
import pytest
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file

from animdiff_cli.config.layers import Layer
from animdiff_cli.core.events import Note
from animdiff_cli.core.memory_levels import MemoryLevel
from animdiff_cli.diffusion import low_vram
from animdiff_cli.diffusion.device import ALL_ON_DEVICE, DevicePlan
from animdiff_cli.errors import DeviceError
from animdiff_cli.jobs.loading import load_animator
from animdiff_cli.jobs.render_plan import plan_renders
from animdiff_cli.outputs import write_clip
from tests import budget_device
from tests.toy_networks import flat, ip_adapter_tensors, make_image_encoder, write_controls

#: a unit of the toy networks, which have 11 MB of weights
UNIT_BYTES = 200_000
SHAPE = {"steps": 2, "num_frames": 2, "width": 32, "height": 32, "seed": 5, "guidance_scale": 1}


class BudgetPlan(DevicePlan):
    """A plan for the device with a budget. It has no streams, like Apple's."""

    @property
    def device(self):
        return budget_device.budget_device()


@pytest.fixture(scope="module")
def planned(toy_model, toy_motion_file):
    """Plan renders of the toy model at a level."""

    def plan(level=ALL_ON_DEVICE, *, weights_dtype="same", steps_down=False, **settings):
        layer = Layer("test", {"model": str(toy_model), "motion_module": str(toy_motion_file), **SHAPE, **settings})
        made = plan_renders([layer], prompts=["a red rocket"], device="cpu")
        device = BudgetPlan("mps", 0, "fp32", weights_dtype=weights_dtype, level=level, steps_down=steps_down)
        return replace(made, device=device)

    return plan


def rendered(plan, budget=None, *, computes=True):
    """Render the first clip of a plan: frames, recipe, notes and the memory meter."""
    notes = []
    with budget_device.memory(budget, computes=computes) as meter:
        emit = lambda event: notes.append(event.message) if isinstance(event, Note) else None  # noqa: E731
        clip = load_animator(plan.weights, plan.device, emit=emit).render(plan.configs[0], emit)
        return clip.frames, clip.recipe, notes, meter.peak, meter.refused


@pytest.fixture(scope="module")
def reference(planned):
    """The frames with everything on the device, and the memory that takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(low_vram, "UNIT_BYTES", UNIT_BYTES)
        frames, recipe, notes, peak, _ = rendered(planned())
    assert not notes and "low_vram" not in recipe
    return frames, peak


@pytest.fixture(autouse=True)
def small_units(monkeypatch):
    """Toy networks are smaller than one unit of a real one."""
    monkeypatch.setattr(low_vram, "UNIT_BYTES", UNIT_BYTES)


@pytest.mark.parametrize(("mode", "share"), [("offload", 0.99), ("sequential", 0.5)])
def test_frames_are_equal_in_every_mode(planned, reference, mode, share):
    frames, recipe, notes, peak, _ = rendered(planned(MemoryLevel(mode)))
    assert np.array_equal(frames, reference[0])
    assert recipe["low_vram"] == mode
    assert notes == [f"little memory on budget:0: rendering at `{mode}`"]
    assert peak < share * reference[1]
    # without numbers, as `benchmarks/memory.py` counts clips of true size, the peak is the same
    if mode == "sequential":
        *_, counted, _ = rendered(planned(MemoryLevel(mode)), computes=False)
        assert 0.99 * peak <= counted <= 1.01 * peak


@pytest.mark.parametrize(
    ("share", "notes", "mode"),
    [
        (0.99, ["out of memory on budget:0: decoding frame 1 again at `offload`"], "offload"),
        (
            0.5,
            [
                "little memory on budget:0: rendering at `offload`",
                "out of memory on budget:0: continuing with step 1 at `sequential`",
            ],
            "sequential",
        ),
    ],
    ids=["while rendering", "while loading"],
)
def test_a_render_goes_on_after_memory_ran_out(planned, reference, share, notes, mode):
    """The budget is exceeded for real: the first level that fits renders the same frames."""
    budget = int(share * reference[1])
    frames, recipe, said, peak, refused = rendered(planned(steps_down=True), budget)
    assert np.array_equal(frames, reference[0])
    assert peak <= budget and refused >= 1
    assert said == notes and recipe["low_vram"] == mode


def test_off_and_the_last_level_fail_with_a_hint(planned):
    with pytest.raises(DeviceError, match="out of memory on budget:0 while loading the weights"):
        rendered(planned(), 8_000_000)
    with pytest.raises(DeviceError, match="out of memory on budget:0 while"):
        rendered(planned(steps_down=True), 1_000_000)


@pytest.mark.full
def test_scheduled_loras_work_on_streamed_weights(planned, reference, make_lora):
    scaled = {"loras": (f"{make_lora(strength=0.1)[0]}@0:0.5,-1:1",)}
    on_device, *_ = rendered(planned(**scaled))
    streamed, *_ = rendered(planned(MemoryLevel("sequential"), **scaled))
    assert np.array_equal(streamed, on_device) and not np.array_equal(streamed, reference[0])


@pytest.fixture(scope="module")
def steered(toy_model, toy_pia_file, tmp_path_factory):
    """Settings of clips with networks beside the UNet, or with pixels to encode, by name."""
    folder = tmp_path_factory.mktemp("steered")
    write_controls(toy_model / "unet", folder / "controlnet", folder / "sparsectrl.ckpt")
    save_file(
        flat(ip_adapter_tensors(UNet2DConditionModel.from_pretrained(toy_model / "unet"))), folder / "ip.safetensors"
    )
    make_image_encoder().save_pretrained(folder / "image_encoder")
    noise = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    picture, mask, video = folder / "picture.png", folder / "mask.png", folder / "video.gif"
    Image.fromarray(noise[0]).save(picture)
    Image.fromarray(np.repeat(np.uint8([[255, 0]]), 16, axis=1).repeat(32, axis=0)).save(mask)
    write_clip(noise, 8, video, "gif", {"config": {}})
    networks = {
        "controls": (f"{folder / 'controlnet'}={picture}", f"{folder / 'sparsectrl.ckpt'}={picture}"),
        "image_prompts": (f"{folder / 'ip.safetensors'}={picture}",),
        "regions": (f"{mask}=a boat",),
        "guidance_scale": 2,
    }
    pia = {"images": (str(picture),), "motion_module": str(toy_pia_file)}
    return {"networks": networks | pia, "video": {"video": str(video), "mask": str(mask)}}


@pytest.mark.parametrize("mode", [pytest.param("offload", marks=pytest.mark.full), "sequential"])
@pytest.mark.parametrize("name", ["networks", "video"])
def test_controls_pictures_and_videos_render_equal_frames(planned, steered, name, mode):
    """Networks, PIA and regions at once, with deep blocks that are kept between steps."""
    settings = steered[name] | ({"cache": "deep:2"} if name == "networks" else {})
    on_device, _, _, all_peak, _ = rendered(planned(**settings))
    frames, _, notes, peak, _ = rendered(planned(MemoryLevel(mode), **settings))
    assert np.array_equal(frames, on_device) and peak < all_peak
    assert notes[0] == f"little memory on budget:0: rendering at `{mode}`"
