import shutil

import pytest
import torch
from transformers import CLIPTokenizer

from animdiff_cli.diffusion.build import check_model_folder, load_components
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.text import check_tokenizer, encode_prompt
from animdiff_cli.errors import IntegrityError

PLAN = DevicePlan("cpu", 0, "fp32")


@pytest.fixture
def parts(toy_model):
    return load_components(toy_model, PLAN)


def test_prompts_become_77_embeddings_and_differ(parts):
    fox, fish = (encode_prompt(parts, prompt).embeds for prompt in ("a fox", "a fish"))
    assert fox.shape == (1, 77, 32)
    assert (fox - fish).abs().max() > 1e-3


@pytest.mark.parametrize("skip", [0, 1, 2])
def test_clip_skip_reads_an_earlier_layer_through_the_final_norm(parts, skip):
    tokens = parts.tokenizer("a fox", padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        layers = parts.text_encoder(tokens, output_hidden_states=True).hidden_states
        expected = parts.text_encoder.final_layer_norm(layers[-1 - skip])
    ours = encode_prompt(parts, "a fox", clip_skip=skip).embeds
    assert (ours - expected).abs().max() < 1e-6


def test_a_prompt_that_is_too_long_is_cut_and_says_where(parts):
    said = []
    encode_prompt(parts, "x" * 75 + "left out", report=said.append)
    assert len(said) == 1
    assert "75 tokens" in said[0]
    assert "left" in said[0].replace(" ", "")


def test_a_prompt_that_fits_says_nothing(parts):
    said = []
    encode_prompt(parts, "x" * 75, report=said.append)
    assert said == []


def test_a_tokenizer_of_two_tokens_is_refused(parts, tmp_path):
    hollow = CLIPTokenizer.from_pretrained(tmp_path)
    with pytest.raises(IntegrityError, match="tokenizer has 2 tokens"):
        check_tokenizer(hollow, parts.text_encoder)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_folder_that_lacks_a_part_is_refused_before_loading(toy_model, tmp_path, part):
    folder = shutil.copytree(toy_model, tmp_path / "model")
    shutil.rmtree(folder / part)
    with pytest.raises(IntegrityError, match=f"{part}/"):
        check_model_folder(folder)


def test_weights_cut_short_are_refused(toy_model, tmp_path):
    folder = shutil.copytree(toy_model, tmp_path / "model")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(IntegrityError, match="not a valid safetensors file"):
        load_components(folder, PLAN)


def test_loading_reads_half_precision_variants_where_nothing_else_is(toy_model, tmp_path):
    folder = shutil.copytree(toy_model, tmp_path / "model")
    for weights in list(folder.glob("*/*.safetensors")):
        weights.rename(weights.with_name(weights.name.replace(".safetensors", ".fp16.safetensors")))
    assert load_components(folder, PLAN).unet.dtype == torch.float32


def test_loading_is_silent(toy_model, capfd):
    load_components(toy_model, PLAN)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
