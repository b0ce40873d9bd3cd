"""Prompts to embeddings: weights, and prompts of any length in chunks of 75 tokens."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from animdiff_cli.core.choices import PromptSyntax
from animdiff_cli.core.prompt_chunks import CHUNK, Chunk, WeightedToken, chunked
from animdiff_cli.core.prompt_weights import Fragment, Part, parse_weights
from animdiff_cli.diffusion.embeddings import CONTINUED
from animdiff_cli.diffusion.text_encoders import (
    PromptEmbeds,
    Report,
    TextEncoders,
    encoder_pairs,
    ignore_report,
    read_layer,
    report_truncation,
    token_ids,
)

_COMMA = ",</w>"


def unchanged(text: str) -> str:
    """Return the text."""
    return text


@torch.no_grad()
def encode_prompt(
    encoders: TextEncoders,
    prompt: str | None,
    *,
    clip_skip: int = 0,
    syntax: PromptSyntax = "a1111",
    expand: Callable[[str], str] = unchanged,
) -> PromptEmbeds:
    """Encode one prompt of any length for the UNet, with weights as `syntax` writes them.

    None is the unconditional prompt: an empty prompt, or zeros for SDXL models with `force_zeros_for_empty_prompt`.
    `clip_skip` drops that many of the last encoder layers, as in diffusers. `expand` replaces the words of textual
    inversions by their tokens. SDXL's pooled text is that of the first chunk, without weights. Raises `UsageError` for
    a weight out of range.
    """
    if prompt and syntax == "compel":
        from animdiff_cli.diffusion.compel_text import encode_compel  # not needed for most prompts

        return encode_compel(encoders, expand(prompt), clip_skip)
    parts = parse_weights(prompt or "") if syntax == "a1111" else ((Fragment(prompt or ""),),)
    parts = tuple(tuple(replace(fragment, text=expand(fragment.text)) for fragment in part) for part in parts)
    embeds = _encode_chunks(
        encoders, [_chunks(tokenizer, parts) for tokenizer, _ in encoder_pairs(encoders)], clip_skip
    )
    return embeds.zeros() if prompt is None and encoders.zeros_for_empty else embeds


@torch.no_grad()
def encode_caption(encoders: TextEncoders, caption: str | None, report: Report = ignore_report) -> PromptEmbeds:
    """Encode a caption for training: plain text in one chunk. Text after 75 tokens is dropped and reported.

    None is the unconditional prompt, as in `encode_prompt`.
    """
    chunks = []
    for tokenizer, _ in encoder_pairs(encoders):
        report_truncation(tokenizer, caption or "", report)
        chunks.append([tuple(WeightedToken(token) for token in token_ids(tokenizer, caption or "")[:CHUNK])])
    embeds = _encode_chunks(encoders, chunks, 0)
    return embeds.zeros() if caption is None and encoders.zeros_for_empty else embeds


def equally_long(
    texts: Mapping[str | None, PromptEmbeds], empty: Callable[[], PromptEmbeds]
) -> dict[str | None, PromptEmbeds]:
    """Pad encoded prompts to the number of chunks of the longest, as the halves of guidance need.

    The padding is the empty prompt; the unconditional prompt None, one chunk, is repeated.
    """
    longest = max(text.embeds.shape[1] for text in texts.values())
    if all(text.embeds.shape[1] == longest for text in texts.values()):
        return dict(texts)
    padding = empty().embeds
    return {prompt: text.padded(longest, text.embeds if prompt is None else padding) for prompt, text in texts.items()}


def _chunks(tokenizer: Any, parts: Sequence[Part]) -> list[Chunk]:
    """Tokenize each fragment, and cut each part into chunks."""
    added = tokenizer.get_added_vocab().items()
    continued = frozenset(number for token, number in added if re.fullmatch(CONTINUED, token))
    comma = tokenizer.convert_tokens_to_ids(_COMMA)  # the unknown token where there is none
    chunks: list[Chunk] = []
    for part in parts:
        tokens = [WeightedToken(number, text.weight) for text in part for number in token_ids(tokenizer, text.text)]
        chunks += chunked(tokens, comma=comma, continued=continued)
    return chunks


def _encode_chunks(encoders: TextEncoders, chunks: Sequence[list[Chunk]], clip_skip: int) -> PromptEmbeds:
    """Encode the chunks of each encoder; their features are concatenated."""
    pairs = encoder_pairs(encoders)
    count = max(map(len, chunks))  # equal unless SDXL's two tokenizers differ
    layers, pooled = [], None
    for (tokenizer, encoder), own in zip(pairs, chunks, strict=True):
        own = [*own, *[()] * (count - len(own))]
        states, texts = read_layer(encoder, _ids(tokenizer, own), clip_skip, is_sdxl=len(pairs) > 1)
        layers.append(_emphasised(states, own).flatten(0, 1)[None])
        pooled = pooled if texts is None else texts[:1]
    return PromptEmbeds(torch.cat(layers, dim=-1) if len(layers) > 1 else layers[0], pooled)


def _ids(tokenizer: Any, chunks: Sequence[Chunk]) -> Tensor:
    """Return the token ids of chunks, [N, 77], each with its start and end tokens and padding."""
    start, end = tokenizer("").input_ids
    rows = [[start, *(token.id for token in chunk), end] for chunk in chunks]
    return torch.tensor([[*row, *[tokenizer.pad_token_id] * (CHUNK + 2 - len(row))] for row in rows])


def _emphasised(states: Tensor, chunks: Sequence[Chunk]) -> Tensor:
    """Multiply embeddings [N, 77, D] by the weights of their tokens, and keep the mean of each chunk, as A1111 does."""
    weights = [[1.0, *(token.weight for token in chunk)] for chunk in chunks]
    rows = [[*row, *[1.0] * (CHUNK + 2 - len(row))] for row in weights]
    emphasised = []
    for state, row in zip(states, rows, strict=True):
        if all(weight == 1 for weight in row):
            emphasised.append(state)
            continue
        before = state.to(torch.promote_types(state.dtype, torch.float32))
        after = before * torch.tensor(row, dtype=before.dtype, device=state.device)[:, None]
        kept = after * (before.mean() / after.mean())
        emphasised.append((kept if kept.isfinite().all() else after).to(state.dtype))
    return torch.stack(emphasised)
