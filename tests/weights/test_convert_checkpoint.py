"""Convert models between one file and a folder, and load them with diffusers."""

import json
import shutil
from functools import cache

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.jobs.convert import convert_weights, plan_conversion
from animdiff_cli.weights.identify import identify


def tensors_of(folder):
    found = {}
    for path in sorted(folder.glob("*/*.safetensors")):
        for key, tensor in load_file(path).items():
            found[f"{path.parent.name}.{key.removeprefix('text_model.')}"] = tensor
    return found


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def one_file(tmp_path_factory):
    """Convert a folder to one original file, once; returns its path."""

    @cache
    def convert(folder):
        target = tmp_path_factory.mktemp("whole") / f"{folder.name}.safetensors"
        return convert_weights(plan_conversion(str(folder), "original", output=target)).path

    return convert


@pytest.mark.parametrize("base", ["sd15", "sdxl"])
def test_folder_to_file_to_folder_is_exact(request, one_file, tmp_path, base):
    folder = request.getfixturevalue(f"{base}_folder")
    back = convert_weights(plan_conversion(str(one_file(folder)), "diffusers", output=tmp_path / "back")).path
    assert same(tensors_of(folder), tensors_of(back))
    for part in ("unet", "vae", "text_encoder"):
        assert (back / part / "config.json").read_text() == (folder / part / "config.json").read_text()


@pytest.mark.parametrize("base", ["sd15", "sdxl"])
def test_file_to_folder_to_file_is_exact(request, one_file, tmp_path, base):
    whole = one_file(request.getfixturevalue(f"{base}_folder"))
    folder = convert_weights(plan_conversion(str(whole), "diffusers", output=tmp_path / "folder")).path
    again = convert_weights(plan_conversion(str(folder), "original", output=tmp_path / "again.safetensors")).path
    assert same(load_file(whole), load_file(again))


@pytest.mark.parametrize("base", ["sd15", "sdxl"])
def test_the_converters_of_diffusers_read_the_same_weights(request, one_file, base):
    folder = request.getfixturevalue(f"{base}_folder")
    whole = load_file(one_file(folder))
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    assert same(convert_ldm_unet_checkpoint(dict(whole), config=unet.config), unet.state_dict())
    assert same(convert_ldm_vae_checkpoint(dict(whole), config=vae.config), vae.state_dict())


def test_diffusers_reads_the_same_weights_of_the_second_text_encoder(sdxl_folder, one_file):
    whole = load_file(one_file(sdxl_folder))
    encoder = CLIPTextModelWithProjection.from_pretrained(sdxl_folder / "text_encoder_2")
    read = convert_open_clip_checkpoint(encoder, whole, prefix="conditioner.embedders.1.model.")
    ours = {key if key.startswith("text_") else f"text_model.{key}": t for key, t in encoder.state_dict().items()}
    read = {key: tensor for key, tensor in read.items() if "position_ids" not in key}
    assert same(read, ours)


def test_the_folder_loads_as_a_pipeline_with_the_tokens_of_clip(one_file, sd15_folder, tmp_path):
    folder = convert_weights(plan_conversion(str(one_file(sd15_folder)), "diffusers", output=tmp_path / "sd")).path
    pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    ids = pipeline.tokenizer("a photo of an astronaut riding a horse on mars").input_ids
    assert ids == [49406, 320, 1125, 539, 550, 18376, 6765, 320, 4558, 525, 7496, 49407]
    assert pipeline.tokenizer.model_max_length == 77


def test_the_second_tokenizer_of_sdxl_has_its_own_padding_token(one_file, sdxl_folder, tmp_path):
    folder = convert_weights(plan_conversion(str(one_file(sdxl_folder)), "diffusers", output=tmp_path / "xl")).path
    assert CLIPTokenizer.from_pretrained(folder / "tokenizer_2").pad_token == "!"
    assert CLIPTokenizer.from_pretrained(folder / "tokenizer").pad_token == "<|endoftext|>"


def test_training_state_in_a_checkpoint_is_dropped_with_a_reason(one_file, sd15_folder, tmp_path):
    weights = load_file(one_file(sd15_folder))
    ids = torch.arange(77)[None]
    left = {
        "model_ema.decay": torch.ones(1),
        "model_ema.diffusion_modeltime_embed0weight": torch.ones(4),
        "alphas_cumprod": torch.ones(1000),
        "sqrt_one_minus_alphas_cumprod": torch.ones(1000),
        "posterior_mean_coef1": torch.ones(1000),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": ids,
    }
    torch.save({"state_dict": weights | left, "global_step": 7}, tmp_path / "trained.ckpt")
    plan = plan_conversion(str(tmp_path / "trained.ckpt"), "diffusers", output=tmp_path / "out")
    assert plan.converted.dropped.keys() == left.keys()
    assert all(plan.converted.dropped.values())
    convert_weights(plan)
    back = plan_conversion(str(tmp_path / "out"), "original", output=tmp_path / "back.safetensors")
    restored = load_file(convert_weights(back).path)
    assert same(restored, weights | {key: t for key, t in left.items() if "position_ids" in key})


def test_an_unknown_key_refuses_the_conversion(one_file, sd15_folder, tmp_path):
    weights = load_file(one_file(sd15_folder)) | {"model.diffusion_model.middle_block.9.strange": torch.ones(2)}
    save_file(weights, tmp_path / "strange.safetensors")
    with pytest.raises(
        IntegrityError, match=r"1 key refused, first `model\.diffusion_model\.middle_block\.9\.strange`"
    ):
        plan_conversion(str(tmp_path / "strange.safetensors"), "diffusers", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda w: w.pop("model.diffusion_model.out.2.bias"), r"lacks 1 weight, first `unet\.conv_out\.bias`"),
        (lambda w: w.pop("model.diffusion_model.input_blocks.0.0.weight"), "its unet is incomplete"),
        (lambda w: w.update({"model.diffusion_model.out.2.bias": torch.ones(5)}), r"conv_out\.bias` has shape \(5,\)"),
        (
            lambda w: w.update({"first_stage_model.encoder.down.0.block.7.conv1.bias": torch.ones(5)}),
            r"first `vae\.enc.*resnets\.7",
        ),
        (lambda w: w.update({"model.diffusion_model.input_blocks.1.0.in_layers.9.bias": torch.ones(5)}), "refused"),
    ],
)
@pytest.mark.parametrize("to", ["diffusers", "original"])
def test_missing_and_unknown_weights_of_a_checkpoint_are_named(one_file, sd15_folder, tmp_path, spoil, why, to):
    weights = load_file(one_file(sd15_folder))
    spoil(weights)
    save_file(weights, tmp_path / "spoilt.safetensors")
    with pytest.raises(IntegrityError, match=why):
        plan_conversion(str(tmp_path / "spoilt.safetensors"), to, output=tmp_path / "out.safetensors")


def test_a_checkpoint_without_a_vae_names_the_missing_part(one_file, sd15_folder, tmp_path):
    weights = {key: t for key, t in load_file(one_file(sd15_folder)).items() if "first_stage" not in key}
    save_file(weights, tmp_path / "novae.safetensors")
    with pytest.raises(IntegrityError, match="has no vae"):
        plan_conversion(str(tmp_path / "novae.safetensors"), "diffusers", output=tmp_path / "out")


def test_a_custom_tokenizer_and_scheduler_survive_a_round_trip(toy_model, one_file, tmp_path):
    back = convert_weights(plan_conversion(str(one_file(toy_model)), "diffusers", output=tmp_path / "back")).path
    assert same(tensors_of(toy_model), tensors_of(back))
    assert json.loads((back / "model_index.json").read_text())["scheduler"] == ["diffusers", "DDIMScheduler"]
    prompt = "a red rocket"
    ids = [CLIPTokenizer.from_pretrained(folder / "tokenizer")(prompt).input_ids for folder in (toy_model, back)]
    assert ids[0] == ids[1]


def test_a_vae_converts_both_ways(sd15_folder, tmp_path):
    source = sd15_folder / "vae"
    original = plan_conversion(str(source), "original", output=tmp_path / "vae.safetensors")
    path = convert_weights(original).path
    assert identify(path).kind == "vae"
    assert "decoder.up.3.block.0.conv1.weight" in load_file(path)
    back = convert_weights(plan_conversion(str(path), "diffusers", output=tmp_path / "back.safetensors")).path
    assert same(load_file(back), load_file(source / "diffusion_pytorch_model.safetensors"))


def test_an_existing_output_is_not_overwritten_by_default(one_file, sd15_folder, tmp_path):
    whole = one_file(sd15_folder)
    (tmp_path / "taken").mkdir()
    with pytest.raises(UsageError, match="exists"):
        plan_conversion(str(whole), "diffusers", output=tmp_path / "taken")
    path = convert_weights(plan_conversion(str(whole), "diffusers", output=tmp_path / "taken", overwrite=True)).path
    assert (path / "model_index.json").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["taken"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"model": {"vocab": 5}}'])
def test_a_damaged_tokenizer_is_named(sd15_folder, tmp_path, text):
    folder = tmp_path / "model"
    shutil.copytree(sd15_folder, folder)
    (folder / "tokenizer").mkdir(exist_ok=True)
    (folder / "tokenizer" / "tokenizer.json").write_text(text)
    with pytest.raises(IntegrityError, match=r"tokenizer\.json has no valid vocabulary"):
        plan_conversion(str(folder), to="original", output=tmp_path / "x.safetensors")
