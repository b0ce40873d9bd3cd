"""`--cache` with conditions, compared with a UNet that runs whole and is given what deep layers computed before."""

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file

from animdiff_cli import load
from animdiff_cli.diffusion import pipeline
from tests.toy_networks import flat, ip_adapter_tensors, make_image_encoder


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
def weights(toy_model, toy_motion_file, toy_pia_file, toy_sdxl_model, toy_sdxl_motion_file, tmp_path_factory):
    """Write a picture, a mask, a ControlNet, an IP-Adapter and a LoRA; return all paths by name."""
    folder = tmp_path_factory.mktemp("weights")
    generator = np.random.default_rng(1)
    Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / "picture.png")
    Image.fromarray(np.uint8([[255, 0]]).repeat(8, axis=1).repeat(16, axis=0)).save(folder / "left.png")
    unet = UNet2DConditionModel.from_pretrained(toy_model / "unet")
    torch.manual_seed(7)
    control = ControlNetModel.from_unet(unet)
    for parameter in control.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    control.save_pretrained(folder / "control")
    save_file(flat(ip_adapter_tensors(unet)), folder / "adapter.safetensors")
    make_image_encoder().save_pretrained(folder / "image_encoder")
    lora = {}
    for name, weight in unet.state_dict().items():
        if ".attn2.to_q.weight" in name:
            stem = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
            lora[f"{stem}.lora_down.weight"] = torch.randn(4, weight.shape[1]) * 0.3
            lora[f"{stem}.lora_up.weight"] = torch.randn(weight.shape[0], 4) * 0.3
    save_file(lora, folder / "lora.safetensors")
    names = {name: folder / name for name in ("picture.png", "left.png", "control", "adapter.safetensors")}
    return {
        **{name.partition(".")[0]: path for name, path in names.items()},
        "lora": folder / "lora.safetensors",
        "model": toy_model,
        "motion": toy_motion_file,
        "pia": toy_pia_file,
        "sdxl": toy_sdxl_model,
        "sdxl_motion": toy_sdxl_motion_file,
    }


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


def filled(value, paths):
    """Put paths in the place of their names."""
    if isinstance(value, list):
        return [filled(item, paths) for item in value]
    return value.format_map(paths) if isinstance(value, str) else value


@pytest.mark.parametrize("settings", CLIPS.values(), ids=CLIPS)
def test_it_composes_with_every_condition(settings, weights, monkeypatch):
    settings = {key: filled(value, weights) for key, value in settings.items()}
    usual = {"model": weights["model"], "motion_module": weights["motion"], "num_frames": 3, "steps": 2}
    size = {"width": 16, "height": 16, "guidance_scale": 3, "dtype": "fp32", "seed": 1}
    animator = load(**{**usual, **size, **settings, "cache": "deep:2"})
    cached = animator.generate("a fox").frames
    monkeypatch.setattr(pipeline, "DeepCache", WholeUNet)
    assert np.abs(animator.generate("a fox").frames.astype(int) - cached).max() <= 1
