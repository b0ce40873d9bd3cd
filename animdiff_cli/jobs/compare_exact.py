"""Render a clip with its inexact settings and without them, and measure the difference."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.events import Emit, Event, Note
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.clip import Clip
from animdiff_cli.jobs.evaluate import measured
from animdiff_cli.metrics.full_reference import WINDOW, psnr, ssim

Measures = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A clip beside the exact one of the same seed. Measures are those of `animdiff evaluate`, in its units.

    `seconds` are from the prompt to the last decoded frame, without loading.
    """

    psnr: float  # dB; infinite for equal clips
    ssim: float | None  # None for frames smaller than its window
    seconds: float
    exact_seconds: float
    measures: Measures
    exact_measures: Measures

    def record(self) -> dict[str, Any]:
        """Return the comparison for JSON. An infinite PSNR becomes null."""
        return {
            "psnr": self.psnr if math.isfinite(self.psnr) else None,
            "ssim": self.ssim,
            "seconds": round(self.seconds, 2),
            "exact_seconds": round(self.exact_seconds, 2),
            "measures": dict(self.measures),
            "exact_measures": dict(self.exact_measures),
        }


def exact(config: GenerateConfig) -> GenerateConfig:
    """Return the settings of the same clip without those that save time by other frames."""
    return config.model_copy(update={key: GenerateConfig.model_fields[key].default for key in config.inexact})


def require_inexact(config: GenerateConfig) -> None:
    """Raise `UsageError` for a clip that is exact already."""
    if not config.inexact:
        raise UsageError(
            "`--compare-exact` has nothing to compare: the clip has neither `--cache` nor `--guidance-until`",
            hint="add `--cache deep:2` or `--guidance-until 0.6`, or leave `--compare-exact` out",
        )


def render_both(
    render: Callable[[GenerateConfig, Emit], Clip], config: GenerateConfig, emit: Emit
) -> tuple[Clip, Comparison]:
    """Render a clip and then the exact one, and compare them. Both are in memory for it."""
    clip, seconds = _timed(render, config, emit)
    emit(Note("rendering the exact clip"))
    other, exact_seconds = _timed(render, exact(config), emit)
    frames, others = clip.frames, other.frames
    comparison = Comparison(
        psnr(frames, others),
        ssim(frames, others) if min(frames.shape[1:3]) >= WINDOW else None,
        seconds,
        exact_seconds,
        measured(frames),
        measured(others),
    )
    return clip, comparison


def _timed(render: Callable[[GenerateConfig, Emit], Clip], config: GenerateConfig, emit: Emit) -> tuple[Clip, float]:
    """Render a clip; return it with the seconds until its last event, after which weights may still be hashed."""
    began = last = time.monotonic()

    def watch(event: Event) -> None:
        nonlocal last
        last = time.monotonic()
        emit(event)

    clip = render(config, watch)
    return clip, last - began
