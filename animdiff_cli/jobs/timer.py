"""Measure how fast clips render, from their progress events."""

import time

import torch

from animdiff_cli.core.events import Emit, Event, StepDone
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.jobs.cost import ClipCost
from animdiff_cli.jobs.rates import Rate, machine_name


class ClipTimer:
    """Time clip after clip of one set of weights. Pass every event to it, and ask for `rate` when a clip is written."""

    def __init__(self, plan: DevicePlan) -> None:
        self._plan = plan
        self._clip_began = time.monotonic()
        self._first_step = self._last_step = 0.0
        self._setup = 0.0  # of the first clip, which includes loading

    def watching(self, emit: Emit) -> Emit:
        """Return an event handler that passes every event on to `emit`."""

        def watch(event: Event) -> None:
            self(event)
            emit(event)

        return watch

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepDone) and event.step in (1, event.total):
            if self._plan.kind == "cuda":
                torch.cuda.synchronize(self._plan.device)  # steps are queued, not done
            self._last_step = time.monotonic()
            if event.step == 1:
                self._first_step = self._last_step

    def rate(self, cost: ClipCost) -> Rate | None:
        """Return the rate of the clip that ends now, and begin the next. None for a clip of one step."""
        began, self._clip_began = self._clip_began, time.monotonic()
        first_calls = cost.first_step_flops / cost.call_flops  # in calls of average size
        later_calls = cost.calls - first_calls
        if later_calls <= 0 or self._first_step < began:
            return None
        call_seconds = (self._last_step - self._first_step) / later_calls
        self._setup = self._setup or self._first_step - began - first_calls * call_seconds
        return Rate(
            machine=machine_name(self._plan),
            frames=cost.call_frames,
            call_flops=cost.call_flops,
            call_seconds=call_seconds,
            frame_flops=cost.frame_flops,
            frame_seconds=(self._clip_began - self._last_step) / cost.frames,
            weight_bytes=cost.weight_bytes,
            setup_seconds=max(self._setup, 1e-3),
        )
