"""What is laid over Stable Diffusion 1.5 is laid over SDXL too: both text encoders, its VAE, a model without one."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from animdiff_cli import generate
from animdiff_cli.diffusion.build import load_components
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.patches import apply_patches, open_patches
from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.jobs.convert import convert_weights, plan_conversion
from animdiff_cli.weights.files import open_weights
from tests.jobs.conftest import TEXT, UNET

TEXT_2 = "text_encoder_2/model.safetensors"
#: a LoRA's words for the parts of SDXL
PARTS = {"unet": UNET, "te1": TEXT, "te2": TEXT_2}


def far(one, other):
    """The largest difference of two clips, in levels of 255."""
    return abs(one.frames.astype(int) - other.frames).max()


@pytest.fixture
def large(small, toy_sdxl_model, toy_sdxl_motion_file):
    """The settings of a render of two small frames of SDXL in one step."""
    return small | {"model": toy_sdxl_model, "motion_module": toy_sdxl_motion_file, "scheduler": "euler"}


@pytest.fixture
def make_lora(toy_sdxl_model, numbers, tmp_path):
    """Write a LoRA as kohya's trainer does, for some parts of SDXL; returns its path and the model changed by hand."""

    def write(*parts):
        tensors, folder = {}, shutil.copytree(toy_sdxl_model, tmp_path / "_".join(("by", "hand", *parts)))
        for part in parts:
            weights = load_file(folder / PARTS[part])
            for key, tensor in weights.items():
                module = key.removesuffix(".weight")
                if module == key or (".attn" not in key and "_attn" not in key) or tensor.dim() != 2:
                    continue
                owner = module if part == "unet" else f"text_model.{module.removeprefix('text_model.')}"
                down, up = 0.3 * numbers(4, tensor.shape[1]), 0.3 * numbers(tensor.shape[0], 4)
                stem = f"lora_{part}_{owner.replace('.', '_')}"
                tensors |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
                tensors[f"{stem}.alpha"] = torch.tensor(4.0)
                weights[key] = tensor + 0.5 * up @ down
            save_file(weights, folder / PARTS[part], {"format": "pt"})
        path = tmp_path / f"{'_'.join(parts)}.safetensors"
        save_file(tensors, path)
        return path, folder

    return write


@pytest.mark.parametrize("parts", [("unet", "te1", "te2"), ("te2",)])
def test_a_lora_changes_the_unet_and_both_text_encoders(large, make_lora, parts):
    lora, by_hand = make_lora(*parts)
    laid_over = generate("a fox", **large, loras=[f"{lora}@0.5"])
    assert far(laid_over, generate("a fox", **large | {"model": by_hand})) <= 1
    assert far(laid_over, generate("a fox", **large)) > 1


def test_an_embeddings_word_is_read_by_both_text_encoders(large, numbers, tmp_path):
    save_file({"clip_l": numbers(2, 32), "clip_g": numbers(2, 40)}, tmp_path / "my-cat.safetensors")
    files = [tmp_path / "my-cat.safetensors"]
    clips = {p: generate(p, **large, embeddings=files) for p in ("a fox, my-cat", "a fox, MY-CAT", "a fox")}
    assert far(clips["a fox, my-cat"], clips["a fox, MY-CAT"]) == 0
    assert far(clips["a fox"], generate("a fox", **large)) == 0
    assert far(clips["a fox, my-cat"], generate("a fox, my-cat", **large)) > 0
    negative = [generate("a fox", **large, negative_prompt="my-cat", embeddings=given) for given in ([], files)]
    assert far(*negative) > 0


def test_an_embedding_of_sd15_is_refused(large, numbers, tmp_path):
    torch.save({"string_to_param": {"*": numbers(2, 32)}}, tmp_path / "my-cat.pt")
    with pytest.raises(UsageError, match="no vectors for text_encoder_2"):
        generate("a fox", **large, embeddings=[tmp_path / "my-cat.pt"])


def test_a_vae_of_ones_own_stays_in_float32_where_half_precision_would_overflow(toy_sdxl_model):
    plan = DevicePlan("cpu", 0, "fp16")
    overlay = open_patches(toy_sdxl_model, vae=toy_sdxl_model / "vae")
    parts = load_components(toy_sdxl_model, plan, lambda parts: apply_patches(parts, overlay, plan), needs_vae=False)
    assert (parts.vae.dtype, parts.unet.dtype) == (torch.float32, torch.float16)


@pytest.mark.parametrize("which", ["small", "large"])
@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_model_without_vae_renders_with_one_beside_it(which, form, request, tmp_path):
    settings = request.getfixturevalue(which)
    whole = settings["model"]
    bare = shutil.copytree(whole, tmp_path / "bare")
    shutil.rmtree(bare / "vae")
    if form == "file":
        one = convert_weights(plan_conversion(str(whole), to="original", output=tmp_path / "one.safetensors")).path
        opened = open_weights(one)
        kept = {key: tensor for key, tensor in load_file(one).items() if not key.startswith("first_stage_model.")}
        bare = tmp_path / "bare.safetensors"
        save_file(kept, bare, dict(opened.metadata))
    with pytest.raises(IntegrityError, match="vae"):
        generate("a fox", **settings | {"model": bare})
    clip = generate("a fox", **settings | {"model": bare}, vae=whole / "vae")
    assert far(clip, generate("a fox", **settings)) == 0
