"""Render clips with the program itself, and cache them so that an interrupted measurement can resume."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from animdiff_cli.config.load import flag_layer
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.jobs.animator import Animator
from animdiff_cli.jobs.loading import load_animator
from animdiff_cli.jobs.render_plan import plan_renders


class RenderClips(Protocol):
    """The interface through which clips are rendered to be measured."""

    def __call__(self, prompt: str, seed: int, *, motion: bool, num_frames: int = 16) -> np.ndarray:
        """Render a clip: uint8 [F, H, W, 3]. Without `motion` the frames are independent."""


@dataclass(slots=True)
class ClipRenderer:
    """Renders with the program's default settings for a model. Weights load once with and once without motion.

    `flags` are keys of `GenerateConfig`, at least `model`. `load` replaces the loader of the program.
    """

    flags: Mapping[str, object]
    device: str
    kept: Path
    load: Callable[[], Animator] | None = None
    _loaded: dict[bool, tuple[Animator, GenerateConfig]] = field(default_factory=dict)

    def __call__(self, prompt: str, seed: int, *, motion: bool, num_frames: int = 16) -> np.ndarray:
        """Render a clip, or read it from the cache for the same weights and settings."""
        path = self.file(prompt, seed, motion=motion, num_frames=num_frames)
        if path.is_file():
            with np.load(path) as stored:
                return stored["frames"]
        animator, config = self._job(prompt, seed, motion, num_frames)
        frames = animator.render(config).frames
        self.kept.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.part.npz")  # two conditions may share a clip
        np.savez_compressed(unfinished, frames=frames)
        unfinished.replace(path)
        return frames

    def file(self, prompt: str, seed: int, *, motion: bool, num_frames: int = 16) -> Path:
        """Return the cache file of a clip: `frames` in an .npz, named by a hash of weights and settings."""
        return self.kept / f"{_name(*self._job(prompt, seed, motion, num_frames))}.npz"

    def settings(self, *, motion: bool) -> dict[str, object]:
        """Return the settings except prompt and seed, and the sha256 of the weights."""
        animator, config = self._animator(motion)
        return {
            "config": config.model_dump(mode="json", exclude={"prompt", "seed"}),
            "weights": {part: dict(files) for part, files in animator.hashes.result().items()},
            "device": animator.components.plan.kind,
        }

    def _job(self, prompt: str, seed: int, motion: bool, num_frames: int) -> tuple[Animator, GenerateConfig]:
        animator, settings = self._animator(motion)
        return animator, settings.model_copy(update={"prompt": prompt, "seed": seed, "num_frames": num_frames})

    def _animator(self, motion: bool) -> tuple[Animator, GenerateConfig]:
        if motion not in self._loaded:
            flags = dict(self.flags) | ({} if motion else {"motion_module": None})
            plan = plan_renders([flag_layer(flags)], prompts=["any"], seeds=[0], device=self.device)
            config = plan.configs[0]
            load = self.load or partial(load_animator, plan.weights, plan.device)
            self._loaded[motion] = load(), config
        return self._loaded[motion]


def _name(animator: Animator, config: GenerateConfig) -> str:
    weights = {part: dict(files) for part, files in animator.hashes.result().items()}
    settings = json.dumps([weights, config.model_dump(mode="json")], sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()[:20]
