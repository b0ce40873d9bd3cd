"""CLIP text encoders and their tokenizers: tokens of a text, and the layer that a UNet reads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from animdiff_cli.diffusion.weight_store import compute_device
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
    """One encoded prompt: `embeds` [1, 77·n, D] for n chunks and, for SDXL only, `pooled` [1, P]."""

    embeds: Tensor
    pooled: Tensor | None = None

    def zeros(self) -> "PromptEmbeds":
        """Return zeros of the same shapes: the unconditional prompt of most SDXL models."""
        pooled = None if self.pooled is None else torch.zeros_like(self.pooled)
        return PromptEmbeds(torch.zeros_like(self.embeds), pooled)

    def padded(self, length: int, padding: Tensor) -> "PromptEmbeds":
        """Append `padding` [1, 77, D] until there are `length` tokens."""
        missing = (length - self.embeds.shape[1]) // padding.shape[1]
        return PromptEmbeds(torch.cat([self.embeds, *[padding] * missing], dim=1), self.pooled) if missing else self


def encoder_pairs(encoders: TextEncoders) -> list[tuple[Any, Any]]:
    """List each tokenizer with its text encoder."""
    pairs = [(encoders.tokenizer, encoders.text_encoder), (encoders.tokenizer_2, encoders.text_encoder_2)]
    return [pair for pair in pairs if pair[1] is not None]


def read_layer(
    encoder: Any, tokens: Tensor, clip_skip: int, *, is_sdxl: bool, attention_mask: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Run a text encoder on tokens [N, 77]. Returns the layer for the UNet, [N, 77, D], and SDXL's pooled text [N, P].

    SD1.5 takes the last layer through the final norm, SDXL the layer before the last without it; `clip_skip` counts
    from there. Only the second encoder of SDXL has pooled text.
    """
    tokens = tokens.to(compute_device(encoder))
    output = encoder(tokens, attention_mask=attention_mask, output_hidden_states=is_sdxl or clip_skip > 0)
    if is_sdxl:
        return output.hidden_states[-(clip_skip + 2)], getattr(output, "text_embeds", None)
    if clip_skip == 0:
        return output.last_hidden_state, None
    # transformers moved the final norm in 5.6
    final_norm = getattr(encoder, "text_model", encoder).final_layer_norm
    return final_norm(output.hidden_states[-(clip_skip + 1)]), None


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Tokenize a text of any length, without start and end tokens."""
    ids: list[int] = tokenizer(text, truncation=False, verbose=False).input_ids[1:-1]
    return ids


def report_truncation(tokenizer: Any, text: str, report: Report) -> None:
    """Report the text that one chunk has no positions for."""
    ids = token_ids(tokenizer, text)
    if len(ids) > MAX_TOKENS - 2:
        rest = tokenizer.decode(ids[MAX_TOKENS - 2 :]).strip()
        report(f"the text is longer than {MAX_TOKENS - 2} tokens: ignored from “{rest[:60]}” on")


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
