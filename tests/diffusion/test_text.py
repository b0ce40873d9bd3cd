import shutil

import pytest
import torch
from transformers import CLIPTokenizer

from animdiff_cli.diffusion.build import check_model_folder, load_components
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.text import encode_caption, encode_prompt, equally_long
from animdiff_cli.diffusion.text_encoders import check_tokenizer
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


def plainly(parts, text):
    """Encode one chunk of text as diffusers does."""
    tokens = parts.tokenizer(text, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        return parts.text_encoder(tokens).last_hidden_state


@pytest.mark.parametrize("text", ["", "a fox", "x" * 75, "16:9, f/1.8: (", "a <b>, {c}!"])
@pytest.mark.parametrize("syntax", ["a1111", "plain"])
def test_a_prompt_of_one_chunk_without_weights_is_what_diffusers_encodes(parts, text, syntax):
    text = text if syntax == "plain" else text.replace("(", "")
    assert torch.equal(encode_prompt(parts, text, syntax=syntax).embeds, plainly(parts, text))


def emphasised(embeds, weights):
    """A1111's arithmetic: `weights` of tokens from the first word on, and the mean of before."""
    factors = torch.tensor([1.0, *weights, *[1.0] * (76 - len(weights))])
    weighted = embeds * factors[None, :, None]
    return weighted * (embeds.mean() / weighted.mean())


@pytest.mark.parametrize("seed", range(5))
def test_weights_multiply_embeddings_and_keep_the_mean(parts, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in parts.text_encoder.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    ours = encode_prompt(parts, "a (red:1.3) [ox]").embeds
    assert (ours - emphasised(plainly(parts, "a red ox"), [1, 1.3, 1.3, 1.3, 1 / 1.1, 1 / 1.1])).abs().max() < 1e-5
    assert (ours - plainly(parts, "a red ox")).abs().max() > 1e-2


def test_plain_syntax_has_no_weights(parts):
    assert torch.equal(encode_prompt(parts, "a (b:1.3)", syntax="plain").embeds, plainly(parts, "a (b:1.3)"))


def test_long_prompts_are_chunks_in_a_row(parts):
    ours = encode_prompt(parts, "x" * 75 + "y" * 10).embeds
    assert ours.shape == (1, 154, 32)
    letters = parts.tokenizer("x" * 75 + "y" * 10).input_ids[76:-1]
    row = [512, *letters, *[513] * (76 - len(letters))]
    with torch.no_grad():
        inner = parts.text_encoder(torch.tensor([row])).last_hidden_state
    chunks = torch.cat([plainly(parts, "x" * 75 + "y" * 10), inner], dim=1)
    assert (ours - chunks).abs().max() < 1e-5


def test_break_begins_a_chunk_and_each_chunk_keeps_its_mean(parts):
    ours = encode_prompt(parts, "a fox BREAK (red:1.5)").embeds
    expected = torch.cat([plainly(parts, "a fox"), emphasised(plainly(parts, "red"), [1.5] * 3)], dim=1)
    assert (ours - expected).abs().max() < 1e-5


def test_half_precision_keeps_its_dtype(parts):
    parts.text_encoder.to(torch.bfloat16)
    assert encode_prompt(parts, "a (red:1.3) fox").embeds.dtype == torch.bfloat16


def test_texts_are_padded_with_the_empty_prompt(parts):
    texts = {prompt: encode_prompt(parts, prompt) for prompt in ("a BREAK b BREAK c", "blur")}
    long, short = equally_long(texts, empty=lambda: encode_prompt(parts, "")).values()
    assert long.embeds is texts["a BREAK b BREAK c"].embeds
    empty = plainly(parts, "")
    assert torch.equal(short.embeds, torch.cat([plainly(parts, "blur"), empty, empty], dim=1))


def test_a_caption_is_one_chunk_of_plain_text_and_says_what_is_cut(parts):
    said = []
    assert torch.equal(encode_caption(parts, "a (b:1.3)", said.append).embeds, plainly(parts, "a (b:1.3)"))
    assert said == []
    long = "x" * 75 + "left out"
    assert torch.equal(encode_caption(parts, long, said.append).embeds, plainly(parts, long))
    assert len(said) == 1
    assert "75 tokens" in said[0]
    assert "left" in said[0].replace(" ", "")


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
