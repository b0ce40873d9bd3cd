"""Prompts to embeddings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from animdiff_cli.errors import IntegrityError

MAX_TOKENS = 77  # positions of CLIP's text model, start and end tokens included
Report = Callable[[str], None]


def ignore_report(_message: str) -> None:
    """Drop a message."""


class TextEncoders(Protocol):
    """Tokenizers and CLIP text encoders of an image model; SDXL has two of each."""

    @property
    def tokenizer(self) -> Any: ...

    @property
    def text_encoder(self) -> Any: ...

    @property
    def tokenizer_2(self) -> Any: ...

    @property
    def text_encoder_2(self) -> Any: ...

    @property
    def zeros_for_empty(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class PromptEmbeds:
    """One encoded prompt: `embeds` [1, 77, D] and, for SDXL only, `pooled` [1, P]."""

    embeds: Tensor
    pooled: Tensor | None = None

    def zeros(self) -> "PromptEmbeds":
        """Return zeros of the same shapes: the unconditional prompt of most SDXL models."""
        pooled = None if self.pooled is None else torch.zeros_like(self.pooled)
        return PromptEmbeds(torch.zeros_like(self.embeds), pooled)


@torch.no_grad()
def encode_prompt(
    encoders: TextEncoders, prompt: str | None, *, clip_skip: int = 0, report: Report = ignore_report
) -> PromptEmbeds:
    """Encode one prompt for the UNet. Text after 75 tokens is dropped and reported through `report`.

    None is the unconditional prompt: an empty prompt, or zeros for SDXL models with `force_zeros_for_empty_prompt`.
    `clip_skip` drops that many of the last encoder layers, as in diffusers.
    """
    if encoders.text_encoder_2 is None:
        return _encode_sd(encoders, prompt or "", clip_skip, report)
    embeds = _encode_sdxl(encoders, prompt or "", clip_skip, report)
    return embeds.zeros() if prompt is None and encoders.zeros_for_empty else embeds


def _encode_sd(encoders: TextEncoders, prompt: str, clip_skip: int, report: Report) -> PromptEmbeds:
    encoder = encoders.text_encoder
    tokens = tokenize(encoders.tokenizer, prompt, report)
    output = encoder(tokens.to(encoder.device), output_hidden_states=clip_skip > 0)
    if clip_skip == 0:
        return PromptEmbeds(output.last_hidden_state)
    # transformers moved the final norm in 5.6
    final_norm = getattr(encoder, "text_model", encoder).final_layer_norm
    return PromptEmbeds(final_norm(output.hidden_states[-(clip_skip + 1)]))


def _encode_sdxl(encoders: TextEncoders, prompt: str, clip_skip: int, report: Report) -> PromptEmbeds:
    """SDXL takes the layer before the last without the final norm; `clip_skip` counts from there."""
    outputs = []
    for tokenizer, encoder in (
        (encoders.tokenizer, encoders.text_encoder),
        (encoders.tokenizer_2, encoders.text_encoder_2),
    ):
        tokens = tokenize(tokenizer, prompt, report)
        outputs.append(encoder(tokens.to(encoder.device), output_hidden_states=True))
    layers: list[Tensor] = [output.hidden_states[-(clip_skip + 2)] for output in outputs]
    return PromptEmbeds(torch.cat(layers, dim=-1), outputs[1].text_embeds)


def tokenize(tokenizer: Any, prompt: str, report: Report = ignore_report) -> Tensor:
    """Tokenize a prompt to shape [1, 77]. Reports truncated text through `report`."""
    report_truncation(tokenizer, prompt, report)
    tokens: Tensor = tokenizer(
        prompt, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    ).input_ids
    return tokens


def report_truncation(tokenizer: Any, prompt: str, report: Report) -> None:
    """Report the text of a prompt that the encoder has no positions for."""
    tokens = tokenizer(prompt, truncation=False, verbose=False).input_ids
    if len(tokens) > MAX_TOKENS:
        rest = tokenizer.decode(tokens[MAX_TOKENS - 1 : -1]).strip()
        report(f"the prompt is longer than {MAX_TOKENS - 2} tokens: ignored from “{rest[:60]}” on")


def check_tokenizer(tokenizer: Any, text_encoder: Any) -> None:
    """Raise `IntegrityError` if the tokenizer does not belong to the text encoder.

    transformers 5 loads a missing tokenizer folder as a vocabulary of two tokens, with which all prompts are alike.
    """
    expected = text_encoder.config.vocab_size
    if len(tokenizer) != expected:
        raise IntegrityError(
            f"the tokenizer has {len(tokenizer)} tokens, the text encoder {expected}: tokenizer files are missing",
            hint="the model folder needs tokenizer/vocab.json and tokenizer/merges.txt",
        )
