"""Windows inside the plug, against the official network with every layer averaged over windows by hand."""

import pytest
import torch

from animdiff_cli.core.windows import Windows
from animdiff_cli.motion import plug
from animdiff_cli.motion.windows import fuse, to_tensors
from tests.motion.reference import OfficialUNet

WINDOWS = {
    "static": Windows(7, 4, 1),
    "looped": Windows(7, 4, 2, 1, "looped", "flat"),
    "one length": Windows(7, 7, 3, 1, "looped"),
}


class OfficialInWindows(OfficialUNet):
    """Image norms and temporal transformers run on the frames of each window; their results are averaged."""

    windows = ()

    def averaged(self, x, compute):
        """`x`: [b, c, f, h, w]."""
        total = torch.zeros_like(x)
        for window in self.windows:
            result = compute(torch.stack([x[:, :, frame] for frame in window.frames], dim=2))
            for place, (frame, share) in enumerate(zip(window.frames, window.shares, strict=True)):
                total[:, :, frame] += share * result[:, :, place]
        return total

    def image_norm(self, norm, x):
        return self.averaged(x, lambda frames: OfficialUNet.image_norm(self, norm, frames))

    def motion(self, x, name):
        return self.averaged(x, lambda frames: OfficialUNet.motion(self, frames, name))


def clip(frames, batch=2):
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(batch, 4, frames, 8, 8, generator=generator, dtype=torch.float64)
    return latents, torch.randn(batch, 7, 24, generator=generator, dtype=torch.float64)


@torch.no_grad()
def run(unet, motion, latents, text, windows):
    frames = latents.shape[2]
    images = latents.transpose(1, 2).flatten(0, 1).to(memory_format=torch.channels_last)
    with motion.frames(frames, windows):
        output = unet(images, 500, encoder_hidden_states=text.repeat_interleave(frames, dim=0)).sample
    assert motion.state.windows == ()
    return output.unflatten(0, (-1, frames)).transpose(1, 2)


@pytest.mark.parametrize("plan", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize(
    ("version", "layout"), [("v1", "sd15"), ("v2", "sd15"), ("v3", "sd15"), ("sdxl", "sdxl"), ("hotshot", "sdxl")]
)
def test_windows_inside_the_unet_are_averaged_at_every_layer(make_unet, make_motion, version, layout, plan):
    """Also the norms of v1 and Hotshot-XL, and that of the SDXL module: each window has its own statistics."""
    unet = make_unet(layout)
    motion = make_motion(unet, version)
    latents, text = clip(7)
    official = OfficialInWindows(unet, motion.state_dict(), version)
    official.windows = plan.at(1, 4)
    with torch.no_grad():
        expected = official(latents, 500, text)
    plug(unet, motion)
    # shares are float32, and the statistics of windows come from those of frames
    assert (run(unet, motion, latents, text, official.windows) - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_frames_far_away_do_not_change_a_window(make_unet, make_motion, version):
    """Spatial layers see one frame and temporal ones a window, so the first window does not depend on the last."""
    unet = make_unet()
    motion = plug(unet, make_motion(unet, version))
    latents, text = clip(8, batch=1)
    windows = Windows(8, 4, 0, 1, "batched").at(0, 1)
    before = run(unet, motion, latents, text, windows)
    latents[:, :, 4:] += 5
    change = (run(unet, motion, latents, text, windows) - before).abs().amax(dim=(0, 1, 3, 4))
    assert change[:4].max() < 1e-9
    assert change[4:].min() > 1e-3


def test_averages_are_exact_in_half_precision():
    """Shares that were rounded to bfloat16 would not sum to 1, and frames where windows overlap would be brighter."""
    frames = torch.full((1, 12, 4), 100.0, dtype=torch.bfloat16)
    fused = fuse(frames, to_tensors(Windows(12, 5, 3).at(0, 1), frames.device), lambda window: window)
    assert torch.equal(fused, frames)
