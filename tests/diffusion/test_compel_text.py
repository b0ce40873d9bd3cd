"""Prompts in compel's notation, against its arithmetic on our encoders."""

import logging
import sys
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.utils import logging as transformers_logging

from animdiff_cli.diffusion.build import load_components
from animdiff_cli.diffusion.compel_text import parse_compel
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.embeddings import Embedding, add_embeddings, expand_embeddings
from animdiff_cli.diffusion.text import encode_prompt
from animdiff_cli.errors import UsageError
from animdiff_cli.weights.lazy import LazyTensor

PLAN = DevicePlan("cpu", 0, "fp32")


@pytest.fixture
def parts(toy_model):
    return load_components(toy_model, PLAN)


def plain(parts, text, **more):
    return encode_prompt(parts, text, syntax="plain", **more)


def compel(parts, text, **more):
    return encode_prompt(parts, text, syntax="compel", **more)


@pytest.mark.parametrize("skip", [0, 1])
def test_without_weights_it_is_plain_text(parts, skip):
    assert torch.equal(compel(parts, "a fox", clip_skip=skip).embeds, plain(parts, "a fox", clip_skip=skip).embeds)


def test_more_weight_leads_away_from_the_empty_prompt(parts):
    """Compel scales the difference to the empty prompt; `++` is 1.1 squared."""
    fox, empty = plain(parts, "a fox").embeds, plain(parts, "").embeds
    factors = torch.tensor([1.0, 1.0, *[1.1**2] * 3, *[1.0] * 72])[None, :, None]
    assert (compel(parts, "a fox++").embeds - (empty + (fox - empty) * factors)).abs().max() < 1e-5


def test_and_puts_prompts_in_a_row(parts):
    both = torch.cat([plain(parts, "a fox").embeds, plain(parts, "snow").embeds], dim=1)
    assert torch.equal(compel(parts, '("a fox", "snow").and()').embeds, both)


def test_blend_is_a_mean(parts):
    mean = 0.25 * plain(parts, "a fox").embeds + 0.75 * plain(parts, "snow").embeds
    assert (compel(parts, '("a fox", "snow").blend(0.25, 0.75)').embeds - mean).abs().max() < 1e-5


def test_nothing_is_cut_or_printed(parts, capfd):
    assert compel(parts, "fox " * 60).embeds.shape[1] == 3 * 77
    assert capfd.readouterr() == ("", "")


def test_sdxl_has_both_encoders_and_the_pooled_text_of_the_first_chunk(toy_sdxl_model):
    parts = load_components(toy_sdxl_model, PLAN)
    first, second = plain(parts, "a fox"), plain(parts, "snow")
    both = compel(parts, '("a fox", "snow").and()')
    assert torch.equal(both.embeds, torch.cat([first.embeds, second.embeds], dim=1))
    assert torch.equal(both.pooled, first.pooled)


def test_a_weight_reaches_every_vector_of_an_inversion(parts):
    vectors = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    cat = Embedding("cat", {"text_encoder": LazyTensor("F32", (3, 32), lambda a, b: vectors[a:b])})
    add_embeddings(parts.tokenizer, parts.text_encoder, [cat])

    def expand(text):
        return expand_embeddings(text, [cat])

    fox, empty = plain(parts, "a cat b", expand=expand).embeds, plain(parts, "").embeds
    factors = torch.tensor([1.0, 1.0, 1.21, 1.21, 1.21, *[1.0] * 72])[None, :, None]
    ours = compel(parts, "a cat++ b", expand=expand).embeds
    assert (ours - (empty + (fox - empty) * factors)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a cat.swap(dog)", r"`\.swap\(\)` in a prompt is not supported"),
        ("a fox withLora(ink, 0.5)", r"`withLora\(\)` in a prompt applies no LoRA"),
        ("a (fox)1000", "the weight 1000 in a prompt is not a number"),
        ('("a", "b").blend(1, -1)', "sum to 0"),
        ('("a", "b").blend(1)', "compel cannot read the prompt"),
        ('"()"', "compel finds no text"),
    ],
)
def test_what_compel_cannot_do_here_is_refused(prompt, message):
    with pytest.raises(UsageError, match=message) as error:
        parse_compel(prompt)
    assert error.value.hint


@settings(max_examples=40)
@given(st.text(alphabet='a b"()+-,.1', max_size=12))
def test_any_text_is_parsed_or_refused(prompt):
    try:
        assert parse_compel(prompt).prompts
    except UsageError as error:
        assert error.hint


def test_compel_is_imported_in_silence(monkeypatch):
    """Its imports make transformers warn about torchvision, which no prompt needs."""
    levels = []

    class Recorded(ModuleType):
        def __getattr__(self, name):
            levels.append((name, transformers_logging.get_verbosity()))
            return getattr(compel_module, name)

    parse_compel("a fox")
    compel_module = sys.modules["compel"]
    monkeypatch.setitem(sys.modules, "compel", Recorded("compel"))
    parse_compel("a fox")
    assert ("Compel", logging.ERROR) in levels
    assert transformers_logging.get_verbosity() < logging.ERROR
