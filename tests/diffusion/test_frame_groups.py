"""Feed-forward layers that compute a few frames at a time."""

import pytest
import torch

from animdiff_cli.diffusion.frame_groups import group_frames
from animdiff_cli.motion import plug


@torch.no_grad()
@pytest.mark.parametrize("groups", [2, 4, 16])
def test_groups_change_nothing_but_rounding(make_unet, make_motion, groups):
    unet = make_unet()
    motion = plug(unet, make_motion(unet))
    latents, text = torch.randn(6, 4, 8, 8).double(), torch.randn(6, 7, 24).double()
    with motion.frames(3):
        whole = unet(latents, torch.tensor(5), text).sample
        group_frames([unet, motion], groups)
        grouped = unet(latents, torch.tensor(5), text).sample
        group_frames([unet, motion], 1)
        again = unet(latents, torch.tensor(5), text).sample
    assert (grouped - whole).abs().max() < 1e-11
    assert torch.equal(again, whole)
