"""Trained MotionLoRAs follow the rules of ComfyUI-AnimateDiff-Evolved; its loader needs ComfyUI and is not run.

Its `load_motion_lora_as_patches` (animatediff/model_injection.py) ignores keys without `temporal`, pairs each key that
does not contain `up.` with its `up.` key, and adds up @ down to the motion module weight whose name is that key without
the LoRA parts, with `to_out` numbered or not. It ignores alpha.
"""

import re

import pytest
import torch
from safetensors.torch import load_file

from animdiff_cli.jobs.convert import convert_weights, plan_conversion
from animdiff_cli.training.export import export_lora
from animdiff_cli.training.lora_layers import LoraLayers, motion_projections


def changes_in_evolved(tensors):
    """Return the change of each motion module weight by its official name."""
    changes = {}
    for key in tensors:
        if "temporal" not in key or "up." in key:
            continue
        weight = re.sub(r"to_out\.(?!0\.)", "to_out.0.", re.sub(r"processor\.|_lora|down\.", "", key))
        changes[weight] = tensors[key.replace(".down.", ".up.")].float() @ tensors[key].float()
    return changes


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_evolved_finds_a_weight_for_every_pair_and_adds_the_trained_change(make_unet, make_motion, tmp_path, version):
    motion = make_motion(make_unet(dtype=torch.float32), version)
    lora = LoraLayers.new(motion_projections(motion), 4, scale=0.5)
    generator = torch.Generator().manual_seed(3)
    for layer in lora.layers.values():
        layer.up.data.copy_(torch.randn(layer.up.shape, generator=generator))
    names = {layer: name for name, layer in motion.named_modules()}
    added = {
        f"{names[layer]}.weight": 0.5 * (lora.layers[key].up @ lora.layers[key].down).detach()
        for key, layer in motion_projections(motion).items()
    }
    files = []
    for layout in ("original", "diffusers", "peft"):
        path = tmp_path / f"{layout}.safetensors"
        export_lora(lora, path, kind="motion-lora", version=version, layout=layout)
        output = tmp_path / f"comfy-of-{layout}.safetensors"
        files.append(convert_weights(plan_conversion(str(path), "comfy", output=output)).path)
    for path in (tmp_path / "original.safetensors", *files):
        tensors = load_file(path)
        assert all("temporal" in key for key in tensors)  # Evolved silently ignores other keys
        changes = changes_in_evolved(tensors)
        assert 2 * len(changes) == len(tensors) and changes.keys() == added.keys() <= motion.state_dict().keys()
        for weight, change in changes.items():
            torch.testing.assert_close(change, added[weight], rtol=5e-3, atol=5e-3)
