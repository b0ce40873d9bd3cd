"""ControlNet (Zhang et al. 2023, arXiv 2302.05543): a picture for each frame steers its layout."""

import os
import tempfile
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from animdiff_cli.core.curves import Curve, Series, series
from animdiff_cli.diffusion.conditions.condition import ClipContext, Condition, UNetCall, contributions, prepared_text
from animdiff_cli.diffusion.pictures import ClipPictures
from animdiff_cli.motion.unet import UNet

#: pictures whose features are computed at once
CHUNK = 4
#: bytes of features that stay in memory on a CPU: 100 frames of 512 by 512 pixels of SD1.5 in half precision
MAX_IN_MEMORY = 256 << 20


@dataclass(frozen=True, slots=True)
class Strength:
    """How strongly a control acts: a scale that may vary, within a part of the steps, as diffusers counts them."""

    scale: float | Curve | Series
    start: float = 0.0  # share of the steps
    end: float = 1.0

    def of(self, clip: ClipContext) -> "Strength":
        """Resolve the positions of a curve for one clip."""
        return self if isinstance(self.scale, Series) else replace(self, scale=series(self.scale, clip.timeline))

    def at(self, frames: Sequence[int], step: int, steps: int) -> list[float]:
        """Return the strength at each of `frames` in this step. The positions must be resolved."""
        assert isinstance(self.scale, Series)
        if step / steps < self.start or (step + 1) / steps > self.end:
            return [0.0] * len(frames)
        scale = self.scale.at(frames, step)
        return [scale] * len(frames) if isinstance(scale, float) else scale


@dataclass(frozen=True, slots=True, eq=False)
class ControlCondition(Condition):
    """Add what a ControlNet computes from the noisy frames, the text and the pictures. Frames without one are free.

    `network` is diffusers' `ControlNetModel`. Features of the pictures, which neither noise nor text changes, are
    computed once per clip. With `guess_mode` the row without text is free, and deep layers count more (section 4.2).
    """

    keeps_rows_equal: ClassVar[bool] = True  # residuals are added after the encoder

    network: Any
    pictures: ClipPictures
    strength: Strength
    guess_mode: bool = False
    clip: ClipContext | None = None  # this one and what follows are set by `prepare`
    text: Sequence[Condition] = ()
    features: Tensor | None = None  # of the pictures, [N, C, h, w], where the latents are

    @contextmanager
    def prepare(self, unet: UNet, clip: ClipContext) -> Iterator["ControlCondition"]:
        """Compute the features, and project the text for the network."""
        flip = self.network.config.controlnet_conditioning_channel_order == "bgr"
        count = len(self.pictures.pictures)
        features = gathered((self._embed(start, flip=flip) for start in range(0, count, CHUNK)), count, clip.device)
        # the network flips what it is given as it would flip pictures
        features = features.flip(1) if flip else features
        with prepared_text(self.network, clip) as text:
            yield replace(self, clip=clip, strength=self.strength.of(clip), text=text, features=features)

    def contribute(self, call: UNetCall) -> Mapping[str, Any]:
        """Return residuals for the skip connections and the middle block, zero for free frames."""
        assert self.clip is not None and self.features is not None
        if not call.is_deep:
            return {}  # residuals are kept with the deep layers
        strengths = frame_strengths(self.strength, self.pictures, self.clip, call)
        places = [place for place, strength in enumerate(strengths) if strength]
        if not places:
            return {}
        guess = self.guess_mode or self.network.config.global_pool_conditions
        part = replace(call.only(places), rows=1 if guess else call.rows)  # the row without text is free
        known = self.clip.timeline.num_known
        shown = [self.pictures.of_frame[frame - known] for frame in part.frames]
        batch = part.batch().to(self.network.dtype)
        control = self.features[shown].to(batch).repeat(part.rows, 1, 1, 1)
        with features_as_pictures(self.network):
            down, mid = self.network(
                batch, call.timestep, controlnet_cond=control, **contributions(self.text, part), return_dict=False
            )
        factors = batch.new_tensor([strengths[place] for place in places] * part.rows)
        residuals = [residual * factors[:, None, None, None] for residual in (*down, mid)]
        if guess and not self.network.config.global_pool_conditions:
            layers = torch.logspace(-1, 0, len(residuals))
            residuals = [residual * layer.item() for residual, layer in zip(residuals, layers, strict=True)]
        return as_residuals([spread(residual, places, call, part.rows) for residual in residuals])

    def recording_key(self, call: UNetCall) -> Hashable | None:
        """Return nothing: residuals are arguments."""
        return ()

    def _embed(self, start: int, *, flip: bool) -> Tensor:
        numbers = range(start, min(start + CHUNK, len(self.pictures.pictures)))
        pixels = torch.from_numpy(self.pictures.chunk(numbers)).permute(0, 3, 1, 2) / 255
        pixels = pixels.flip(1) if flip else pixels
        features: Tensor = self.network.controlnet_cond_embedding(pixels.to(self.network.device, self.network.dtype))
        return features


def gathered(parts: Iterable[Tensor], count: int, device: torch.device) -> Tensor:
    """Concatenate tensors of `count` rows together on a device. On a CPU, large ones are in a file without a name.

    The system then keeps in memory what is used, so that it does not grow with the length of a clip.
    """
    gathering: Tensor | None = None
    filled = 0
    for part in parts:
        if gathering is None:
            shape, numel = (count, *part.shape[1:]), count * part[0].numel()
            if device.type == "cpu" and numel * part.itemsize > MAX_IN_MEMORY:
                gathering = _in_file(numel, part.dtype).view(shape)
            else:
                gathering = torch.empty(shape, dtype=part.dtype, device=device)
        gathering[filled : filled + len(part)] = part
        filled += len(part)
    assert gathering is not None
    return gathering


def _in_file(numel: int, dtype: torch.dtype) -> Tensor:
    """Return a tensor that is mapped to a temporary file, which goes with the tensor."""
    handle, name = tempfile.mkstemp(prefix="animdiff-")
    os.close(handle)
    try:
        return torch.from_file(name, shared=True, size=numel, dtype=dtype)
    finally:
        with suppress(OSError):  # Windows keeps a mapped file until the folder of temporary files is emptied
            Path(name).unlink()


@contextmanager
def features_as_pictures(network: Any) -> Iterator[None]:
    """Let a ControlNet take features in place of pictures inside this context: for one call, as others may share it."""
    embedding = network.controlnet_cond_embedding
    network.controlnet_cond_embedding = nn.Identity()
    try:
        yield
    finally:
        network.controlnet_cond_embedding = embedding


def frame_strengths(strength: Strength, pictures: ClipPictures, clip: ClipContext, call: UNetCall) -> list[float]:
    """Return the strength at every frame of a call: 0 without a picture, and for known frames of a continued clip."""
    known = clip.timeline.num_known
    found = strength.at(call.frames, call.step, clip.timeline.calls or clip.timeline.steps)
    has_picture = (frame >= known and pictures.of_frame[frame - known] is not None for frame in call.frames)
    return [value if has else 0.0 for value, has in zip(found, has_picture, strict=True)]


def spread(residual: Tensor, places: Sequence[int], call: UNetCall, rows: int) -> Tensor:
    """Put the residual of some frames of the last rows, [rows*N, ...], among zeros for the others: [R*F, ...]."""
    count = len(call.frames)
    if len(places) == count and rows == call.rows:
        return residual
    images = [row * count + place for row in range(call.rows - rows, call.rows) for place in places]
    all_frames = residual.new_zeros(call.rows * count, *residual.shape[1:])
    all_frames[images] = residual
    return all_frames


def as_residuals(residuals: Sequence[Tensor]) -> Mapping[str, Any]:
    """Return residuals, that of the middle block last, as arguments of the UNet."""
    return {
        "down_block_additional_residuals": list(residuals[:-1]),
        "mid_block_additional_residual": residuals[-1],
    }
