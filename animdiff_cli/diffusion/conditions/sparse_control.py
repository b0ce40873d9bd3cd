"""SparseCtrl (Guo et al. 2023, arXiv 2311.16933): pictures at some frames, which its own motion module spreads."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from animdiff_cli.core.windows import WeightedWindow
from animdiff_cli.diffusion.conditions.condition import ClipContext, Condition, UNetCall, contributions, prepared_text
from animdiff_cli.diffusion.conditions.control import (
    CHUNK,
    Strength,
    as_residuals,
    features_as_pictures,
    gathered,
)
from animdiff_cli.diffusion.encode import Encode
from animdiff_cli.diffusion.pictures import ClipPictures
from animdiff_cli.motion.plug import plugged
from animdiff_cli.motion.unet import UNet


@dataclass(frozen=True, slots=True, eq=False)
class SparseControlCondition(Condition):
    """Add what SparseCtrl computes from the pictures, a mask of the frames that have one, and the text.

    It never sees the noisy frames. `network` is a ControlNet with a motion module plugged in; with `encode` it takes
    latents (rgb), otherwise pixels (scribble). A context window without a picture gets nothing: the network was
    trained with one at least.
    """

    keeps_rows_equal: ClassVar[bool] = True

    network: Any
    pictures: ClipPictures
    strength: Strength
    encode: Encode | None = None
    clip: ClipContext | None = None  # this one and what follows are set by `prepare`
    text: Sequence[Condition] = ()
    features: Tensor | None = None  # of the pictures, and last of no picture: [N+1, C, h, w], where the latents are

    @contextmanager
    def prepare(self, unet: UNet, clip: ClipContext) -> Iterator["SparseControlCondition"]:
        """Compute the features, and project the text for the network."""
        count = len(self.pictures.pictures)
        features = gathered(self._all_features(count), count + 1, clip.device)
        with prepared_text(self.network, clip) as text:
            yield replace(self, clip=clip, strength=self.strength.of(clip), text=text, features=features)

    def contribute(self, call: UNetCall) -> Mapping[str, Any]:
        """Return residuals for the skip connections and the middle block, averaged over windows inside the call."""
        assert self.clip is not None
        if not call.is_deep:
            return {}  # residuals are kept with the deep layers
        timeline = self.clip.timeline
        strengths = self.strength.at(call.frames, call.step, timeline.calls or timeline.steps)
        everything = WeightedWindow(tuple(range(len(call.frames))), (1.0,) * len(call.frames))
        total: list[Tensor] = []
        for window in call.windows or (everything,):
            shown = [self._shown(call.frames[place]) for place in window.frames]
            if all(number is None for number in shown) or not any(strengths[place] for place in window.frames):
                continue
            shares = [
                share * strengths[place] for share, place in zip(window.shares, window.frames, strict=True)
            ] * call.rows
            residuals = self._residuals(call.only(window.frames), shown)
            images = [row * len(call.frames) + place for row in range(call.rows) for place in window.frames]
            weighted = [residual * residual.new_tensor(shares)[:, None, None, None] for residual in residuals]
            if not total:
                total = [part.new_zeros(call.rows * len(call.frames), *part.shape[1:]) for part in weighted]
            index = torch.tensor(images, device=weighted[0].device)
            for summed, part in zip(total, weighted, strict=True):
                summed.index_add_(0, index, part)
        return as_residuals(total) if total else {}

    def recording_key(self, call: UNetCall) -> Hashable | None:
        """Return nothing: residuals are arguments."""
        return ()

    def _all_features(self, count: int) -> Iterator[Tensor]:
        blank: Tensor | None = None
        for start in range(0, count, CHUNK):
            inputs = self._inputs(range(start, min(start + CHUNK, count)))
            blank = torch.zeros_like(inputs[:1])
            yield self._embed(inputs)
        assert blank is not None
        yield self._embed(blank)

    def _residuals(self, call: UNetCall, shown: Sequence[int | None]) -> list[Tensor]:
        """Run the network on the frames of one window."""
        attached = plugged(self.network)
        assert self.features is not None and attached is not None
        blank = len(self.features) - 1
        batch = torch.zeros_like(call.batch(), dtype=self.network.dtype)
        control = self.features[[blank if number is None else number for number in shown]].to(batch)
        with attached.motion.frames(len(call.frames)), features_as_pictures(self.network):
            down, mid = self.network(
                batch,
                call.timestep,
                controlnet_cond=control.repeat(call.rows, 1, 1, 1),
                **contributions(self.text, call),
                return_dict=False,
            )
        return [*down, mid]

    def _shown(self, frame: int) -> int | None:
        assert self.clip is not None
        known = self.clip.timeline.num_known
        return self.pictures.of_frame[frame - known] if frame >= known else None

    def _inputs(self, numbers: range) -> Tensor:
        """Return pictures with a mask of ones as the last channel."""
        pixels = self.pictures.chunk(numbers)
        if self.encode:
            images = self.encode(pixels)[0].transpose(0, 1)
        else:
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
        return torch.cat([images, torch.ones_like(images[:, :1])], dim=1)

    def _embed(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.network.controlnet_cond_embedding(inputs.to(self.network.device, self.network.dtype))
        return features
