"""Weight files as the world has them, at the width of the toy model, and the toy model changed by hand."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

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
