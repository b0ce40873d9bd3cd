"""`--image`: a clip that begins with, passes through or ends at pictures."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from animdiff_cli.config.input_settings import ImageEntry
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.curves import Curve, series
from animdiff_cli.core.pia import nearest_pictures
from animdiff_cli.core.where import frames_at
from animdiff_cli.diffusion.conditions import Condition, PiaCondition, SourceFrames
from animdiff_cli.diffusion.encode import Encode
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.media import open_input, read_for_clip

FLAG = "--image"


def check_images(config: GenerateConfig) -> None:
    """Raise `UsageError` for pictures that cannot be combined with other settings, are none, or share a frame."""
    if not config.images:
        return
    check_has_motion(config.motion_module)
    for key, flag in (("video", "--video"), ("invert", "--invert")):
        if getattr(config, key):
            raise UsageError(f"`{FLAG}` and `{flag}` cannot be combined", hint="leave one of them out")
    check_are_pictures(map(ImageEntry.read, config.images))
    _frames_of(config)


def check_has_motion(module: object) -> None:
    """Raise `UsageError` for pictures without a motion module."""
    if module is None:
        raise UsageError(
            f"`{FLAG}` needs a motion module: without one, frames do not see each other",
            hint="leave `--no-motion` out",
        )


def check_are_pictures(entries: Iterable[ImageEntry]) -> None:
    """Raise `UsageError` for a source with more than one picture, and as `open_input`."""
    for entry in entries:
        if len(open_input(entry.source, FLAG).timeline.times) > 1:
            raise UsageError(
                f"`{entry.source}` is not one picture", hint=f"give a picture, or `--video {entry.source}` for all"
            )


def read_images(config: GenerateConfig, encode: Encode, pia: Tensor | None = None) -> Condition | None:
    """Read and encode the pictures of a clip; None if there are none.

    `pia` is the part of the input convolution that reads pictures, if the motion module is PIA. Without it, each
    picture stays at its frame. The other frames begin from a mix of the pictures before and after them, as noisy as
    `denoise` says, so that the motion module leads from one picture to the next.
    """
    if not config.images:
        return None
    timeline, size = config.timeline, (config.width, config.height)
    places, parts = _frames_of(config), []
    for entry, frame in zip(map(ImageEntry.read, config.images), places, strict=True):
        at_frame = entry.model_copy(update={"frames": str(frame)})
        shown = read_for_clip(open_input(entry.source, FLAG), at_frame, timeline, size)
        parts.append(encode(shown.chunk(range(1))))
    if pia is not None:
        return PiaCondition(_pia_channels(torch.cat(parts, dim=2), places, config), pia)
    order = sorted(range(len(places)), key=places.__getitem__)
    kept = [places[index] for index in order]
    latents = _mixed(torch.cat([parts[index] for index in order], dim=2), kept, config.num_frames, loop=config.loop)
    shares = series(config.denoise, timeline).at(range(config.num_frames), 0)
    by_frame = [shares] * config.num_frames if isinstance(shares, float) else shares
    denoise = Curve.of({str(frame): 0.0 if frame in kept else share for frame, share in enumerate(by_frame)})
    return SourceFrames(latents, denoise, config.steps)


def _frames_of(config: GenerateConfig) -> list[int]:
    """Return the frame of each picture. Those without a position are spread over the clip, the first at frame 0."""
    entries = [ImageEntry.read(value) for value in config.images]
    last, gaps = config.num_frames - 1, max(1, len(entries) - 1)
    frames: list[int] = []
    for number, entry in enumerate(entries):
        own = frames_at(entry.frames, config.num_frames, config.fps) if entry.frames else [round(number * last / gaps)]
        if len(own) > 1:
            raise UsageError(f"`{entry.text()}` names several frames", hint="give one position, as in `fox.png@50%`")
        frames += own
    for frame in frames:
        if frames.count(frame) > 1:
            raise UsageError(f"two pictures are at frame {frame}", hint="give each its own position: `fox.png@-1`")
    return frames


def _pia_channels(pictures: Tensor, places: Sequence[int], config: GenerateConfig) -> Tensor:
    """Return score and picture of every frame, [1, 5, F, h, w], for latents of pictures [1, 4, N, h, w] at `places`."""
    variant = config.pia_variant or ("loop" if config.loop else "animation")
    led_from = nearest_pictures(variant, config.pia_magnitude, config.num_frames, places)
    shown = pictures[:, :, [number for number, _ in led_from]]
    scores = shown.new_tensor([score for _, score in led_from])[:, None, None]
    return torch.cat([scores.expand_as(shown[:, :1]), shown], dim=1)


def _mixed(pictures: Tensor, kept: Sequence[int], num_frames: int, *, loop: bool) -> Tensor:
    """Mix latents of pictures [1, 4, N, h, w] at increasing frames for every frame: [1, 4, F, h, w]."""
    keys = list(zip(kept, range(len(kept)), strict=True))
    (first, start), (final, end) = keys[0], keys[-1]
    before = final - num_frames if loop else min(first, 0) - 1
    after = first + num_frames if loop else num_frames
    around = [(before, end if loop else start), *keys, (after, start if loop else end)]
    mixed = []
    for frame in range(num_frames):
        one, other = next((a, b) for a, b in pairwise(around) if a[0] <= frame < b[0])
        share = (frame - one[0]) / (other[0] - one[0])
        mixed.append((1 - share) * pictures[:, :, one[1]] + share * pictures[:, :, other[1]])
    return torch.stack(mixed, dim=2)
