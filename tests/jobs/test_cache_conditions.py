"""`--cache` with conditions, compared with a UNet that runs whole and is given what deep layers computed before."""

import numpy as np
import pytest
import torch

from animdiff_cli import load
from animdiff_cli.diffusion import pipeline
from tests.jobs.conftest import filled


class WholeUNet:
    """In the place of `DeepCache`, for an interval of 2 and one window of the UNet or more: runs all layers always."""

    def __init__(self, unet, interval, store):
        self.unet, self.kept = unet, {}

    def is_deep(self, frames, step, rows):
        return step % 2 == 0

    def __call__(self, batch, call, unet_kwargs):
        window = tuple(call.frames)

        def given(_layer, args):
            channels = self.unet.conv_in.out_channels  # of the skip connection
            hidden, skip = args[0][:, :-channels], args[0][:, -channels:]
            if call.is_deep:
                self.kept[window] = hidden, controls
            else:
                assert (hidden - self.kept[window][0]).abs().max() > 1e-3
            return torch.cat([self.kept[window][0], skip], dim=1), *args[1:]

        names = ("down_block_additional_residuals", "mid_block_additional_residual")
        controls = {name: unet_kwargs[name] for name in names if name in unet_kwargs}
        if not call.is_deep:
            unet_kwargs = {**unet_kwargs, **self.kept[window][1]}
        handle = self.unet.up_blocks[-1].resnets[-1].register_forward_pre_hook(given)
        try:
            return self.unet(batch, call.timestep, **unet_kwargs, return_dict=False)[0]
        finally:
            handle.remove()


@pytest.fixture(scope="module")
def weights(of_conditions, toy_sdxl_model, toy_sdxl_motion_file):
    """Return the paths of all weights and sources by name."""
    return of_conditions | {"sdxl": toy_sdxl_model, "sdxl_motion": toy_sdxl_motion_file}


WINDOWS = {"num_frames": 6, "context_length": 4}
#: settings of each clip; names in braces are paths
CLIPS = {
    "image prompt": {"image_prompts": ["{adapter}={picture}"]},
    "scheduled LoRA": {"loras": ["{lora}@steps:0:0,-1:1"]},
    "PIA": {"motion_module": "{pia}", "images": ["{picture}"]},
    "SDXL": {"model": "{sdxl}", "motion_module": "{sdxl_motion}", "scheduler": "euler"},
    "all, windows around": {
        **WINDOWS,
        "context_mode": "unet",
        "controls": ["{control}={picture}@0:1,-1:0.2"],
        "image_prompts": ["{adapter}={picture}"],
        "regions": ["{left}=a boat"],
        "loras": ["{lora}@0:0,-1:1"],
    },
    "controls and regions, windows inside": {
        **WINDOWS,
        "context_mode": "plug",
        "controls": ["{control}={picture}@steps:0:1,-1:0.2"],
        "regions": ["{left}=a boat"],
    },
}


@pytest.mark.parametrize("settings", CLIPS.values(), ids=CLIPS)
def test_it_composes_with_every_condition(settings, weights, monkeypatch):
    settings = filled(settings, weights)
    usual = {"model": weights["model"], "motion_module": weights["motion"], "num_frames": 3, "steps": 2}
    size = {"width": 16, "height": 16, "guidance_scale": 3, "dtype": "fp32", "seed": 1}
    animator = load(**{**usual, **size, **settings, "cache": "deep:2"})
    cached = animator.generate("a fox").frames
    monkeypatch.setattr(pipeline, "DeepCache", WholeUNet)
    assert np.abs(animator.generate("a fox").frames.astype(int) - cached).max() <= 1
