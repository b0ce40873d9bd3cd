"""Prompts to embeddings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from animdiff_cli.errors import IntegrityError

MAX_TOKENS = 77  # positions of CLIP's text model, start and end included
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Text:
    """One prompt as a UNet reads it: `tokens` [1, 77, D] and, of SDXL only, a summary `pooled` [1, P]."""

    tokens: Tensor
    pooled: Tensor | None = None

    def zeros(self) -> "Text":
        """What SDXL was trained to read where there is no text."""
        return Text(torch.zeros_like(self.tokens), None if self.pooled is None else torch.zeros_like(self.pooled))


@torch.no_grad()
def encode_prompt(
    tokenizer: Any, text_encoder: Any, prompt: str, *, clip_skip: int = 0, report: Report = lambda message: None
) -> Tensor:
    """Encode one prompt to [1, 77, D]. Tokens beyond 75 are cut, which `report` is told.

    `clip_skip` leaves out that many of the last layers, final norm applied, as in diffusers.
    """
    tokens = tokenize(tokenizer, prompt, report)
    output = text_encoder(tokens.to(text_encoder.device), output_hidden_states=clip_skip > 0)
    if clip_skip == 0:
        return output.last_hidden_state
    skipped = output.hidden_states[-(clip_skip + 1)]
    return _final_norm(text_encoder)(skipped)


def tokenize(tokenizer: Any, prompt: str, report: Report = lambda message: None) -> Tensor:
    """Turn a prompt into 77 tokens [1, 77], padded as the tokenizer pads. What is cut off is told to `report`."""
    report_truncation(tokenizer, prompt, report)
    tokens: Tensor = tokenizer(
        prompt, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    ).input_ids
    return tokens


def check_tokenizer(tokenizer: Any, text_encoder: Any) -> None:
    """Raise `IntegrityError` if the tokenizer is not the text encoder's.

    With transformers 5 an absent tokenizer folder loads as a vocabulary of two tokens, and every prompt reads the same.
    """
    expected = text_encoder.config.vocab_size
    if len(tokenizer) != expected:
        raise IntegrityError(
            f"the tokenizer knows {len(tokenizer)} tokens, the text encoder {expected}: tokenizer files are missing",
            hint="the model folder needs tokenizer/vocab.json and tokenizer/merges.txt",
        )


def _final_norm(text_encoder: Any) -> Any:
    """Find the final norm, which transformers moved in 5.6."""
    return getattr(text_encoder, "text_model", text_encoder).final_layer_norm


def report_truncation(tokenizer: Any, prompt: str, report: Report) -> None:
    """Tell `report` which words of a prompt lie beyond what the text encoder has positions for, if any do."""
    tokens = tokenizer(prompt, truncation=False, verbose=False).input_ids
    if len(tokens) > MAX_TOKENS:
        rest = tokenizer.decode(tokens[MAX_TOKENS - 1 : -1]).strip()
        report(f"the prompt is longer than {MAX_TOKENS - 2} tokens: ignored from “{rest[:60]}” on")
