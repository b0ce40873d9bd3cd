"""The prompts of a clip, encoded: one row, or two with guidance, the negative prompt first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from animdiff_cli.config.input_settings import RegionEntry
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.choices import PromptInterpolation
from animdiff_cli.core.curves import Blend, TextTrack
from animdiff_cli.core.where import Timeline
from animdiff_cli.diffusion.frame_texts import FrameTexts, frame_texts, held
from animdiff_cli.diffusion.text import equally_long
from animdiff_cli.diffusion.text_encoders import PromptEmbeds

Encode = Callable[[str | None], PromptEmbeds]


@dataclass(frozen=True, slots=True)
class PromptRows:
    """Text of every row: tensors [rows, L, D] and for SDXL [rows, P], or `FrameTexts` if it changes over the clip."""

    embeds: Tensor | FrameTexts
    pooled: Tensor | FrameTexts | None


def encode_rows(encode: Encode, config: GenerateConfig, timeline: Timeline) -> PromptRows:
    """Encode every distinct text of a clip once. An empty negative prompt is the unconditional one."""
    prompts = [config.negative_prompt, config.prompt] if config.has_guidance else [config.prompt]
    rows: list[list[Blend[str | None]]] = [_blends(prompt, timeline, config.prompt_hold) for prompt in prompts]
    if config.has_guidance:
        rows[0] = [Blend(blend.before or None, blend.after or None, blend.fraction) for blend in rows[0]]
    return _encoded(encode, rows, config.prompt_interpolation)


def encode_regions(encode: Encode, config: GenerateConfig, timeline: Timeline) -> Tensor | FrameTexts:
    """Encode the texts of all regions, one row each. Pooled texts are those of the prompt."""
    prompts = [RegionEntry.read(region).prompt for region in config.regions]
    rows = [_blends(prompt, timeline, config.prompt_hold) for prompt in prompts]
    return _encoded(encode, rows, config.prompt_interpolation).embeds


def _encoded(encode: Encode, rows: Sequence[Sequence[Blend[str | None]]], mode: PromptInterpolation) -> PromptRows:
    used = dict.fromkeys(text for row in rows for blend in row for text in (blend.before, blend.after))
    encoded = equally_long({text: encode(text) for text in used}, empty=lambda: encode(""))
    texts = [encoded[text] for text in used]
    pooled = [text.pooled for text in texts if text.pooled is not None]
    embeds = torch.cat([text.embeds for text in texts])
    numbers = {text: number for number, text in enumerate(used)}
    changes = [[Blend(numbers[blend.before], numbers[blend.after], blend.fraction) for blend in row] for row in rows]
    if all(len({text for blend in row for text in (blend.before, blend.after)}) == 1 for row in changes):
        order = [row[0].before for row in changes]
        return PromptRows(_ordered(embeds, order), _ordered(torch.cat(pooled), order) if pooled else None)
    return PromptRows(
        frame_texts(embeds, changes, mode), frame_texts(torch.cat(pooled)[:, None], changes, mode) if pooled else None
    )


def _blends(prompt: str | TextTrack, timeline: Timeline, hold: float) -> list[Blend[str | None]]:
    """Return the text of every frame."""
    if not isinstance(prompt, TextTrack):
        return [Blend(prompt, prompt, 0.0)] * (timeline.num_known + timeline.num_frames)
    blends = [(blend.before, blend.after, held(blend.fraction, hold)) for blend in prompt.blends(timeline)]
    return [Blend(before, after if fraction else before, fraction) for before, after, fraction in blends]


def _ordered(texts: Tensor, order: Sequence[int]) -> Tensor:
    return texts if list(order) == list(range(len(texts))) else texts[list(order)]
