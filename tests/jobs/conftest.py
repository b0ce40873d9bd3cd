"""Weight files as the world has them, at the width of the toy model, and the toy model changed by hand."""

import shutil

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file

from animdiff_cli.motion import save_motion_module
from tests.toy_networks import (
    LAYOUTS,
    flat,
    ip_adapter_tensors,
    make_image_encoder,
    make_motion,
    sparsectrl_tensors,
)

UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@pytest.fixture
def numbers():
    """Draw random tensors, the same ones in every run."""
    generator = torch.Generator().manual_seed(5)
    return lambda *shape: torch.randn(*shape, generator=generator)


@pytest.fixture(scope="session")
def small(toy_model, toy_motion_file):
    """The settings of a render of two small frames in one step."""
    return {
        "model": toy_model,
        "motion_module": toy_motion_file,
        "steps": 1,
        "num_frames": 2,
        "width": 64,
        "height": 64,
        "dtype": "fp32",
        "seed": 1,
    }


@pytest.fixture
def make_lora(toy_model, numbers, tmp_path):
    """Write a LoRA as kohya's trainer does, rank 4, alpha 2, for attentions of UNet and text encoder.

    Returns its path, and up @ down of each module by part and key.
    """

    def write(name="style.safetensors", parts=("unet", "te"), strength=0.3, strange=0):
        tensors, products = {}, {}
        for part, file in (("unet", UNET), ("te", TEXT)):
            for key, tensor in load_file(toy_model / file).items():
                module = key.removesuffix(".weight")
                if part not in parts or module == key or not (".attn" in key or "_proj" in key) or tensor.dim() != 2:
                    continue
                owner = module if part == "unet" else f"text_model.{module.removeprefix('text_model.')}"
                stem = f"lora_{part}_{owner.replace('.', '_')}"
                down, up = strength * numbers(4, tensor.shape[1]), strength * numbers(tensor.shape[0], 4)
                tensors |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
                tensors[f"{stem}.alpha"] = torch.tensor(2.0)
                products[file, key] = up @ down
        for number in range(strange):
            stem = f"lora_unet_down_blocks_{number}_attentions_7_proj_in"
            tensors |= {f"{stem}.lora_down.weight": numbers(4, 8), f"{stem}.lora_up.weight": numbers(8, 4)}
        save_file(tensors, tmp_path / name)
        return tmp_path / name, products

    return write


@pytest.fixture
def changed_model(toy_model, tmp_path):
    """Write the toy model again with numbers added to its weights, by file and key; returns the folder."""

    def write(changes, name="by-hand"):
        folder = tmp_path / name
        shutil.copytree(toy_model, folder)
        for file in {file for file, _ in changes}:
            weights = load_file(folder / file)
            for (where, key), change in changes.items():
                if where == file:
                    weights[key] = weights[key] + change
            save_file(weights, folder / file, {"format": "pt"})
        return folder

    return write


@pytest.fixture(scope="session")
def of_conditions(toy_model, tmp_path_factory):
    """Write one network or source for each kind of condition, all of random numbers; return their paths by name.

    Their image model has a UNet of one level, because many clips are rendered with it.
    """
    folder, draw = tmp_path_factory.mktemp("conditions"), np.random.default_rng(1)
    (folder / "clip").mkdir()
    for name in ("picture", "other", *(f"clip/{number}" for number in range(4))):
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    Image.fromarray(np.uint8([[255, 0]]).repeat(16, axis=1).repeat(32, axis=0)).save(folder / "left.png")
    shutil.copytree(toy_model, folder / "model")
    config = UNet2DConditionModel.load_config(toy_model / "unet") | LAYOUTS["one-level"]
    torch.manual_seed(7)
    unet = UNet2DConditionModel.from_config(config)
    unet.save_pretrained(folder / "model" / "unet")
    motion = make_motion(unet)
    save_motion_module(motion, folder / "motion.safetensors")
    first = {"conv_in.bias": torch.ones(32), "conv_in.weight": torch.randn(32, 9, 3, 3) * 0.3}
    save_file(load_file(folder / "motion.safetensors") | first, folder / "pia.safetensors")
    control = ControlNetModel.from_unet(unet)
    for parameter in control.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    control.save_pretrained(folder / "control")
    torch.save({"state_dict": sparsectrl_tensors(unet)}, folder / "sparse.ckpt")
    save_file(flat(ip_adapter_tensors(unet)), folder / "adapter.safetensors")
    make_image_encoder().save_pretrained(folder / "image_encoder")
    lora = {}
    for name, weight in unet.state_dict().items():
        if ".attn2.to_q.weight" in name:
            stem = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
            lora[f"{stem}.lora_down.weight"] = torch.randn(4, weight.shape[1]) * 0.3
            lora[f"{stem}.lora_up.weight"] = torch.randn(weight.shape[0], 4) * 0.3
    save_file(lora, folder / "lora.safetensors")
    inpainting = folder / "inpainting"
    shutil.copytree(folder / "model", inpainting)
    wide = UNet2DConditionModel.from_config(dict(unet.config) | {"in_channels": 9})
    wide.save_pretrained(inpainting / "unet")
    networks = (f"{name}.safetensors" for name in ("motion", "pia", "adapter", "lora"))
    folders = ("model", "inpainting", "control", "clip")
    names = (*networks, *folders, "sparse.ckpt", "picture.png", "other.png", "left.png")
    return {name.partition(".")[0]: folder / name for name in names}


def filled(value, paths):
    """Put paths in the place of their names in braces, inside lists and records too."""
    if isinstance(value, dict):
        return {key: filled(item, paths) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, paths) for item in value]
    return value.format_map(paths) if isinstance(value, str) else value
