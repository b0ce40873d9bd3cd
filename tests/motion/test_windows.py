"""Windows inside the plug, against the plain computation: every temporal layer by hand, window by window."""

import pytest
import torch
from torch import nn

from animdiff_cli.core.windows import Windows
from animdiff_cli.motion import plug
from animdiff_cli.motion.windows import to_tensors, windowed_group_norm

WINDOWS = {
    "static": Windows(7, 4, 1),
    "looped": Windows(7, 4, 2, 1, "looped", "flat"),
    "rotated": Windows(7, 7, 3, 1, "looped"),
}


def averaged(windows, frames, compute):
    """Average what `compute` gives for the frames of each window; `frames` is [F, ...]."""
    total = torch.zeros_like(frames)
    for window in windows:
        result = compute(torch.stack([frames[frame] for frame in window.frames]))
        for place, (frame, share) in enumerate(zip(window.frames, window.shares, strict=True)):
            total[frame] += share * result[place]
    return total


@torch.no_grad()
@pytest.mark.parametrize("plan", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("version", ["v3", "sdxl"])
def test_a_temporal_transformer_in_windows_is_the_average_of_its_windows(make_unet, make_motion, version, plan):
    """Also of its norm: the SDXL module has statistics over the frames of a window."""
    unet = make_unet("sdxl" if version == "sdxl" else "sd15")
    transformer = make_motion(unet, version).transformer("down_blocks.0.motion_modules.0")
    clips = torch.randn(2, 7, 32, 3, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    windows = plan.at(1, 4)
    moved = transformer(clips.flatten(0, 1), 7, windows=to_tensors(windows, clips.device)).unflatten(0, (2, 7))
    for row in range(2):
        expected = averaged(windows, clips[row], lambda frames: transformer(frames, 4 if len(frames) == 4 else 7))
        assert (moved[row] - expected).abs().max() < 1e-6
    assert (moved - transformer(clips.flatten(0, 1), 7).unflatten(0, (2, 7))).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("plan", WINDOWS.values(), ids=WINDOWS)
def test_a_norm_in_windows_is_the_average_of_norms_across_their_frames(plan):
    torch.manual_seed(0)
    norm = nn.GroupNorm(4, 12, eps=1e-5).double()
    norm.weight.copy_(torch.randn(12))
    norm.bias.copy_(torch.randn(12))
    clips = torch.randn(3, 7, 12, 3, 5, dtype=torch.float64) * torch.arange(1, 8)[:, None, None, None] + 2
    windows = plan.at(2, 4)

    def across_frames(frames):
        return norm(frames.transpose(0, 1)[None])[0].transpose(0, 1)

    images = clips.flatten(0, 1).to(memory_format=torch.channels_last)
    normed = windowed_group_norm(norm, images, 7, to_tensors(windows, clips.device)).unflatten(0, (3, 7))
    for row in range(3):
        assert (normed[row] - averaged(windows, clips[row], across_frames)).abs().max() < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("version", ["v1", "v2", "v3", "sdxl", "hotshot"])
def test_windows_that_hold_the_whole_clip_change_nothing(make_unet, make_motion, version):
    """Two copies of one window, half of each, through the whole UNet, for every kind of norm."""
    layout = "sdxl" if version in ("sdxl", "hotshot") else "sd15"
    unet = make_unet(layout)
    motion = plug(unet, make_motion(unet, version))
    generator = torch.Generator().manual_seed(4)
    latents = torch.randn(10, 4, 8, 8, generator=generator, dtype=torch.float64)
    text = torch.randn(10, 7, 24, generator=generator, dtype=torch.float64)
    (window,) = Windows(5, 5, 0).at(0, 1)
    halves = type(window)(window.frames, (0.5,) * 5)
    outputs = []
    for windows in ((), (halves, halves)):
        with motion.frames(5, windows):
            outputs.append(unet(latents, torch.tensor(500), encoder_hidden_states=text).sample)
    assert (outputs[1] - outputs[0]).abs().max() < 1e-5 * outputs[0].abs().max()
    assert motion.state.windows == ()


@torch.no_grad()
@pytest.mark.parametrize("version", ["v1", "v3"])
def test_frames_far_away_do_not_change_a_window(make_unet, make_motion, version):
    """Spatial layers see one frame and temporal ones a window, so the first window does not depend on the last."""
    unet = make_unet()
    motion = plug(unet, make_motion(unet, version))
    generator = torch.Generator().manual_seed(4)
    latents = torch.randn(8, 4, 8, 8, generator=generator, dtype=torch.float64)
    text = torch.randn(8, 7, 24, generator=generator, dtype=torch.float64)
    outputs = []
    for change in (0.0, 5.0):
        latents[4:] += change
        with motion.frames(8, Windows(8, 4, 0, 1, "batched").at(0, 1)):
            outputs.append(unet(latents, torch.tensor(500), encoder_hidden_states=text).sample)
    assert (outputs[1] - outputs[0])[:4].abs().max() < 1e-9
    assert (outputs[1] - outputs[0])[4:].abs().max() > 1e-3
