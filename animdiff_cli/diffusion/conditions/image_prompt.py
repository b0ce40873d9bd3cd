"""IP-Adapter (Ye et al. 2023, arXiv 2308.06721): pictures as prompts, read by a second attention beside the text."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from animdiff_cli.core.curves import Blend, Track
from animdiff_cli.core.where import Timeline, Where
from animdiff_cli.diffusion.conditions.condition import ClipContext, Condition, UNetCall
from animdiff_cli.diffusion.conditions.control import Strength
from animdiff_cli.diffusion.cross_attention import (
    PictureKeys,
    ShownPictures,
    by_head,
    cross_attentions,
    with_pictures,
)
from animdiff_cli.diffusion.frame_texts import Mix
from animdiff_cli.diffusion.image_prompt import ImagePromptNetwork
from animdiff_cli.diffusion.pictures import ClipPictures
from animdiff_cli.motion.unet import UNet


@dataclass(frozen=True, slots=True, eq=False)
class ImagePromptCondition(Condition):
    """Let frames read the tokens of their picture; between two pictures, a mix of their keys and values.

    Tokens, keys and values of each distinct picture are computed once per clip. The row without text reads an empty
    picture, as in diffusers. Known frames of a continued clip have the picture of the first new frame.
    """

    keeps_rows_equal: ClassVar[bool] = True

    network: ImagePromptNetwork
    pictures: ClipPictures
    strength: Strength
    clip: ClipContext | None = None  # this one and what follows are set by `prepare`
    blends: tuple[Blend[int], ...] = ()  # of the pictures, for every frame
    shown: ShownPictures | None = None  # where processors read the pictures of a call

    @contextmanager
    def prepare(self, unet: UNet, clip: ClipContext) -> Iterator["ImagePromptCondition"]:
        """Compute keys and values, and let the cross-attentions of the UNet read them."""
        tokens = self.network.tokens(self.pictures).to(unet.device, unet.dtype)
        shown = ShownPictures()
        layers = cross_attentions(unet)
        keys = [
            PictureKeys(by_head(attn, tokens @ to_k.T), by_head(attn, tokens @ to_v.T), shown)
            for attn, to_k, to_v in zip(layers, self.network.keys, self.network.values, strict=True)
        ]
        blends = tuple(picture_blends(self.pictures, clip.timeline))
        with with_pictures(unet, keys):
            yield replace(self, clip=clip, strength=self.strength.of(clip), blends=blends, shown=shown)

    def contribute(self, call: UNetCall) -> Mapping[str, Any]:
        """Set the pictures of this call. Nothing is passed to the UNet itself."""
        assert self.clip is not None and self.shown is not None
        timeline = self.clip.timeline
        strengths = self.strength.at(call.frames, call.step, timeline.calls or timeline.steps)
        self.shown.mix = self._mix(call) if any(strengths) else None
        is_one = len(set(strengths)) == 1
        scales = call.latents.new_tensor(strengths * call.rows, device=self.network.keys[0].device)
        self.shown.scale = strengths[0] if is_one else scales.to(self.network.keys[0].dtype)[:, None, None]
        return {}

    def _mix(self, call: UNetCall) -> Mix:
        """Mix pictures once for all frames if they see the same, else for each image."""
        blends = [self.blends[frame] for frame in call.frames]
        blends = blends[:1] if len(set(blends)) == 1 else blends
        empty = len(self.pictures.pictures)  # the last one
        rows = [Blend(empty, empty, 0.0)] * len(blends) * (call.rows - 1) + blends
        device = self.network.keys[0].device
        pair = torch.tensor([[blend.before for blend in rows], [blend.after for blend in rows]], device=device)
        later = torch.tensor([blend.fraction for blend in rows], device=device)
        return Mix(pair, torch.stack([1 - later, later])[:, :, None])


def picture_blends(pictures: ClipPictures, timeline: Timeline) -> list[Blend[int]]:
    """Return the picture of every frame, known ones first; frames without one are between their neighbours'."""
    keys = [(Where(frame), number) for frame, number in enumerate(pictures.of_frame) if number is not None]
    return Track(tuple(keys)).blends(timeline)
