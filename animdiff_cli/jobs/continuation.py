"""`--continue-from`: new frames that go on from the last frames of a clip."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animdiff_cli.config.layers import Layer
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.errors import AnimdiffError, NotFound, UsageError
from animdiff_cli.motion import MotionSpec
from animdiff_cli.outputs import read_recipe
from animdiff_cli.outputs.read import read_clip
from animdiff_cli.outputs.spool import FrameSequence, FrameSpool
from animdiff_cli.storage.inputs import local_input

FLAG = "--continue-from"
#: share of a window that is kept beside the new frames unless the user says otherwise. With a quarter, the step at the
#: junction of pocket clips was larger than any inside the clip in three of four; with half a window in one of four.
DEFAULT_KNOWN = 1 / 2


@dataclass(frozen=True, slots=True)
class Continuation:
    """The clip that is continued, and how many of its last frames the new ones see."""

    path: Path
    frames: FrameSequence
    num_known: int

    @property
    def known(self) -> NDArray[np.uint8]:
        """The last frames, uint8 [K, H, W, 3]."""
        count = len(self.frames)
        return np.stack([self.frames[index] for index in range(count - self.num_known, count)])

    def sampled(self, config: GenerateConfig) -> GenerateConfig:
        """Return the config of what is sampled: the known frames and the new ones."""
        changes = {"num_frames": self.num_known + config.num_frames, "continue_frames": self.num_known}
        return config.model_copy(update=changes)

    def recorded(self, config: GenerateConfig) -> GenerateConfig:
        """Return the config for the recipe, from that of `sampled`: `num_frames` are the new frames."""
        return config.model_copy(update={"num_frames": config.num_frames - self.num_known})

    def joined(self, new: Iterator[NDArray[np.uint8]], config: GenerateConfig) -> Iterator[NDArray[np.uint8]]:
        """Return the chunks of the result: the pixels of the clip before the new frames, or these alone."""
        return new if config.continue_new_only else chain((frame[None] for frame in self.frames), new)


def read_continuation(config: GenerateConfig, spec: MotionSpec | None) -> Continuation | None:
    """Read the clip that `config` continues; None if it continues none.

    Raises `NotFound` if there is none, `UsageError` if it cannot be read or does not fit the settings.
    """
    if config.continue_from is None:
        for key, flag in (("continue_frames", "--continue-frames"), ("continue_new_only", "--continue-new-only")):
            if getattr(config, key):
                raise UsageError(f"`{flag}` has no effect without a clip to continue", hint=f"add `{FLAG} CLIP`")
        return None
    if spec is None:
        raise UsageError(
            f"`{FLAG}` needs a motion module: without one, frames do not see each other",
            hint="leave `--no-motion` out",
        )
    if config.loop:
        raise UsageError(
            f"`{FLAG}` and `--loop` cannot be combined: the first frames are given", hint="leave one of them out"
        )
    path = _existing(config.continue_from)
    frames = FrameSpool([read_clip(path).frames])
    _check_size(path, frames, config)
    return Continuation(path, frames, _num_known(config, spec, path, len(frames)))


def sampled_config(config: GenerateConfig, spec: MotionSpec | None) -> GenerateConfig:
    """Return the config of what is sampled for `config`. Raises as `read_continuation`."""
    continued = read_continuation(config, spec)
    return continued.sampled(config) if continued else config


def with_size_of_clip(layers: Sequence[Layer]) -> list[Layer]:
    """Add size and frame rate of the clip that the highest of `layers` continues, below them all."""
    named = [layer.values["continue_from"] for layer in layers if "continue_from" in layer.values]
    if not named or not isinstance(named[-1], str):
        return list(layers)
    path = _existing(named[-1])
    clip = read_clip(path)
    _, height, width, _ = clip.frames.shape
    if width % 8 or height % 8:
        raise UsageError(
            f"`{path}` is {width}x{height} pixels, and the sides of a continued clip must be multiples of 8",
            hint="scale or crop it first",
        )
    fps = _rate(path, clip.fps)
    return [Layer(str(path), {"width": width, "height": height, **({"fps": fps} if fps else {})}), *layers]


def _existing(name: str) -> Path:
    path = local_input(name)
    if not path.exists():
        raise NotFound(f"no clip `{path}` to continue", hint=f"check the path after `{FLAG}`")
    return path


def _rate(path: Path, of_file: float | None) -> float | None:
    """Return the frames per second of a clip: of its recipe, because GIF rounds and a folder has none."""
    try:
        fps = read_recipe(path)["config"]["fps"]
    except (AnimdiffError, KeyError, TypeError):
        return of_file
    return float(fps) if isinstance(fps, (int, float)) else None


def _check_size(path: Path, frames: FrameSequence, config: GenerateConfig) -> None:
    _, height, width, _ = frames.shape
    if (width, height) != (config.width, config.height):
        raise UsageError(
            f"`{path}` is {width}x{height} pixels, and {config.width}x{config.height} were asked for",
            hint=f"leave the size out, or use `--width {width} --height {height}`",
        )


def _num_known(config: GenerateConfig, spec: MotionSpec, path: Path, available: int) -> int:
    length, asked = config.context_length or spec.window_length, config.continue_frames
    usual = max(1, int(length * DEFAULT_KNOWN))
    if asked is None:
        return min(available, usual)
    if asked > available:
        raise UsageError(f"`{path}` has {available} frames, not {asked}", hint=f"use `--continue-frames {available}`")
    is_one_window = asked + config.num_frames <= (config.context_length or spec.max_frames)
    if asked >= length and not is_one_window:
        raise UsageError(
            f"{asked} known frames leave no new frame in a window of {length}",
            hint=f"use `--continue-frames {usual}`, or less than {length}",
        )
    return asked
