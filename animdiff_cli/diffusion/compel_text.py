"""Prompts in the notation of the compel library: `word++`, `(two words)1.2`, `("a", "b").blend()` and `.and()`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from animdiff_cli.core.prompt_weights import MAX_WEIGHT, bad_weight
from animdiff_cli.diffusion.build import silence_libraries
from animdiff_cli.diffusion.embeddings import CONTINUED
from animdiff_cli.diffusion.text_encoders import MAX_TOKENS, PromptEmbeds, TextEncoders, encoder_pairs, read_layer
from animdiff_cli.diffusion.weight_store import compute_device
from animdiff_cli.errors import UsageError


def encode_compel(encoders: TextEncoders, prompt: str, clip_skip: int) -> PromptEmbeds:
    """Encode a prompt of any length with compel; words of textual inversions are replaced by their tokens already.

    SDXL's pooled text is that of the first chunk. Raises `UsageError` as `parse_compel`.
    """
    pairs = encoder_pairs(encoders)
    prompt = re.sub(r"\\([{}_])", r"\1", prompt)
    first_tokens = re.sub(rf" {CONTINUED}", "", prompt)  # one token per inversion, so that `word++` weighs all of it
    layers, pooled = [], None
    for tokenizer, encoder in pairs:
        reader = _LayerReader(encoder, clip_skip, is_sdxl=len(pairs) > 1)
        compel = _compel()(
            tokenizer,
            reader,
            textual_inversion_manager=_Inversions(tokenizer),
            truncate_long_prompts=False,
            model_max_length=MAX_TOKENS,
        )
        with silence_libraries(), _failures(prompt):
            states, _ = compel.build_conditioning_tensor_for_conjunction(parse_compel(first_tokens))
        layers.append(states)
        pooled = reader.pooled
    return PromptEmbeds(torch.cat(layers, dim=-1), pooled)


def parse_compel(prompt: str) -> Any:
    """Parse a prompt to compel's `Conjunction`.

    Raises `UsageError` for a prompt that compel cannot parse or finds no text in, for `.swap()` and `withLora()`, and
    for a weight out of range.
    """
    with _failures(prompt):
        conjunction = _compel().parse_prompt_string(prompt)
    if conjunction.lora_weights:
        raise UsageError("`withLora()` in a prompt applies no LoRA", hint="add `--lora NAME@SCALE`")
    if not conjunction.prompts:
        raise UsageError(f"compel finds no text in the prompt `{prompt[:60]}`", hint="leave out the brackets")
    for blend in conjunction.prompts:
        if sum(getattr(blend, "weights", [1.0])) == 0:
            raise UsageError("the weights of `.blend()` in a prompt sum to 0", hint="give each text a share above 0")
        for flattened in getattr(blend, "prompts", [blend]):
            _check_fragments(flattened)
    return conjunction


def _compel() -> Any:
    """Import the class of compel, which takes seconds. On import, its parts report what they do without torchvision."""
    with silence_libraries():
        from compel import Compel  # type: ignore[import-untyped]  # compel ships no types
    return Compel


def _check_fragments(flattened: Any) -> None:
    if flattened.wants_cross_attention_control:
        raise UsageError("compel's `.swap()` in a prompt is not supported", hint="use `.blend()`")
    for fragment in flattened.children:
        if not abs(fragment.weight) <= MAX_WEIGHT:
            raise bad_weight(f"{fragment.weight:.4g}", f"write `({fragment.text[:20]})1.2`")


@contextmanager
def _failures(prompt: str) -> Iterator[None]:
    """Turn errors of compel, which have many types, into `UsageError`."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:80] or type(error).__name__
        raise UsageError(
            f"compel cannot read the prompt `{prompt[:60]}`: {reason}",
            hint="correct it, or leave out `--prompt-syntax compel`",
        ) from error


class _LayerReader:
    """A text encoder as compel calls it, which returns the layer that the UNet reads."""

    def __init__(self, encoder: Any, clip_skip: int, *, is_sdxl: bool) -> None:
        self._encoder, self._clip_skip, self._is_sdxl = encoder, clip_skip, is_sdxl
        self.device, self.dtype = compute_device(encoder), encoder.dtype
        self.pooled: Tensor | None = None  # of the first chunk, which compel encodes first

    def __call__(self, tokens: Tensor, attention_mask: Tensor | None = None, **_: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        states, pooled = read_layer(
            self._encoder, tokens, self._clip_skip, is_sdxl=self._is_sdxl, attention_mask=attention_mask
        )
        self.pooled = pooled if self.pooled is None else self.pooled
        return BaseModelOutput(last_hidden_state=states)


class _Inversions:
    """Appends to the first token of each textual inversion its other tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokens: dict[int, list[int]] = {}
        first = -1
        for token, number in sorted(tokenizer.get_added_vocab().items(), key=lambda item: item[1]):
            if not re.fullmatch(CONTINUED, token):
                first = number
            self._tokens.setdefault(first, []).append(number)

    def expand_textual_inversion_token_ids_if_necessary(self, token_ids: list[int]) -> list[int]:
        return [number for token in token_ids for number in self._tokens.get(token, [token])]
