"""Texts of regions of the picture, and how image tokens read them.

Every token reads the text of the clip and those of all regions. What it reads is averaged by the share of each text in
the token: "Attention Couple" (github.com/laksjdjf/attention-couple-ComfyUI), which is the attention mode of Regional
Prompter (github.com/hako-mikan/sd-webui-regional-prompter). The shares are the masks, reduced to the resolution of the
layer. Both projects reduce them to the nearest pixel; here it is the mean.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from animdiff_cli.diffusion.frame_texts import FrameTexts, Mix

#: for each region the number of its mask, None where it has none, and its weight
Look = tuple[tuple[int | None, float], ...]


@dataclass(slots=True, eq=False)
class ShownRegions:
    """The R regions of a clip, and the frames of the current call of a UNet, which all of its processors read."""

    texts: Tensor | FrameTexts  # [R, L, D], or with one row for each region
    masks: Sequence[Tensor]  # distinct masks of each region at the size of the latents, [N, h, w] from 0 to 1
    num_frames: int = 0  # of the call
    looks: Sequence[Look] = ()  # of each of them, or one for all
    mix: Mix | None = None  # of the texts, for each frame of each region
    _shares: dict[tuple[int, torch.device, torch.dtype], Tensor] = field(default_factory=dict)  # at these looks

    def show(self, frames: Sequence[int], looks: Sequence[Look]) -> None:
        """Set the frames of the call that comes next, and the look of each."""
        looks = looks[:1] if len(set(looks)) == 1 else looks
        if list(looks) != list(self.looks):
            self.looks = looks
            self._shares.clear()
        self.num_frames = len(frames)
        self.mix = self.texts.mix(frames) if isinstance(self.texts, FrameTexts) else None

    @property
    def all_texts(self) -> Tensor:
        """The texts to project to keys and values, [T, L, D]; frames may mix them."""
        return self.texts.texts if isinstance(self.texts, FrameTexts) else self.texts

    @property
    def by_frame(self) -> Tensor:
        """The text of each frame, one region after the other: [R*F, L, D]."""
        texts = self.all_texts
        return self.mix.of(texts) if self.mix else texts.repeat_interleave(self.num_frames, dim=0)

    def blended(self, main: Tensor, read: Callable[[int], Tensor]) -> Tensor:
        """Average what tokens read from the text of the clip, `main` [rows*F, P, C], and from those of the regions.

        `read(R)` returns the latter, [R*F, P, C], for the row with text. The row without text has no regions.
        """
        if not any(number is not None and weight for look in self.looks for number, weight in look):
            return main
        without_text, text = main[: -self.num_frames], main[-self.num_frames :]
        shares = self._shares_in(text)
        regions = read(len(self.masks)).view(-1, *text.shape)
        blended = shares[0] * text + (shares[1:] * regions).sum(dim=0)
        return torch.cat([without_text, blended]) if len(without_text) else blended

    def _shares_in(self, tokens: Tensor) -> Tensor:
        """Return the share of each text in tokens [F, P, C]: [1+R, F or 1, P, 1]."""
        key = tokens.shape[1], tokens.device, tokens.dtype
        if key not in self._shares:
            weighted = [
                torch.stack(
                    [masks[number] * weight if number is not None else masks[0] * 0 for number, weight in column]
                )
                for masks, column in zip(self.masks, zip(*self.looks, strict=True), strict=True)
            ]
            self._shares[key] = text_shares(torch.stack(weighted), key[0]).to(tokens)
        return self._shares[key]


def text_shares(masks: Tensor, num_tokens: int) -> Tensor:
    """Return the share of the clip's text, first, and of each region in each token: [1+R, F, num_tokens, 1].

    `masks` [R, F, h, w] are from 0 to 1, times the weight of the region. What they leave of 1 is the share of the
    clip's text. Where they are more than 1 together, they are divided by their sum.
    """
    height, width = masks.shape[-2:]
    while height * width > num_tokens:  # as convolutions of stride 2 reduce it
        height, width = -(-height // 2), -(-width // 2)
    if height * width != num_tokens:
        raise ValueError(f"{num_tokens} tokens are no reduced picture of {masks.shape[-1]} x {masks.shape[-2]}")
    reduced = F.adaptive_avg_pool2d(masks, (height, width)).flatten(2)
    total = reduced.sum(dim=0, keepdim=True)
    return (torch.cat([(1 - total).clamp(min=0), reduced]) / total.clamp(min=1))[..., None]
