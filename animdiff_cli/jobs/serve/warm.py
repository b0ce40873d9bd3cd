"""Loaded weights that are kept for the next job: those used last, up to a number of sets."""

import gc
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import torch

from animdiff_cli.config.layers import Layer
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS
from animdiff_cli.core.events import Emit, Event, Note
from animdiff_cli.errors import DeviceError
from animdiff_cli.files.hashing import FileState, file_state
from animdiff_cli.jobs.animator import Animator
from animdiff_cli.jobs.loading import load_animator
from animdiff_cli.jobs.missing_weights import fetch_missing, find_missing, refuse_missing
from animdiff_cli.jobs.render_plan import plan_renders
from animdiff_cli.jobs.weight_files import Weights, find_weights, used_files

#: opening and loading share caches of the last opened file
_LOADING = Lock()


@dataclass(frozen=True, slots=True)
class _Warm:
    animator: Animator
    notes: tuple[str, ...]  # emitted while it was loaded; every clip gets them


class WarmModels:
    """The weights that one device holds. Used by one thread at a time."""

    def __init__(self, device: str, keep: int, *, fetch: bool) -> None:
        """Keep up to `keep` sets of weights on `device`. `fetch`: download missing weights."""
        self.device = device
        self._keep, self._fetch = keep, fetch
        self._loaded: OrderedDict[Hashable, _Warm] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of sets that are loaded."""
        return len(self._loaded)

    def animator(self, config: GenerateConfig, emit: Emit) -> Animator:
        """Return loaded weights for a complete config; load them if they are not held, or if a file has changed.

        Where memory is short, other sets are dropped first. Raises `AnimdiffError`.
        """
        missing = find_missing(dict(config))
        if missing:
            fetch_missing(emit)(missing) if self._fetch else refuse_missing(missing)
        key = self._key(config)
        if key in self._loaded:
            self._loaded.move_to_end(key)
            for message in self._loaded[key].notes:
                emit(Note(message))
            return self._loaded[key].animator
        self._drop(len(self._loaded) - self._keep + 1)
        try:
            warm = self._load(config, emit)
        except DeviceError:
            if not self._loaded:
                raise
            self._drop(len(self._loaded))
            warm = self._load(config, emit)
        self._loaded[key] = warm
        return warm.animator

    def drop_all(self) -> None:
        """Free all weights, after the device ran out of memory."""
        self._drop(len(self._loaded))

    def _key(self, config: GenerateConfig) -> Hashable:
        weights = find_weights(config)
        return (
            config.dtype,
            config.weights_dtype,
            config.low_vram,
            repr(weights),
            tuple(_state(path) for path in _files(weights)),
        )

    def _load(self, config: GenerateConfig, emit: Emit) -> _Warm:
        notes: list[str] = []

        def collect(event: Event) -> None:
            if isinstance(event, Note):
                notes.append(event.message)
            emit(event)

        with _LOADING:
            plan = plan_renders([Layer("request", config.model_dump(mode="json"))], device=self.device)
            assert plan.weights is not None  # missing ones were refused
            return _Warm(load_animator(plan.weights, plan.device, emit=collect), tuple(notes))

    def _drop(self, count: int) -> None:
        """Free the `count` sets that were used longest ago."""
        for _ in range(count):
            self._loaded.popitem(last=False)
        if count > 0:
            gc.collect()
            torch.cuda.empty_cache()
            if torch.backends.mps.is_available():
                torch.mps.empty_cache()


def _files(weights: Weights) -> list[Path]:
    return [file for key in WEIGHT_SETTINGS for path in weights.files(key) for file in used_files(path)]


def _state(path: Path) -> tuple[str, FileState]:
    return str(path), file_state(path)
