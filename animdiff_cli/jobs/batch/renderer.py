"""Render tasks in this process. The weights stay loaded while tasks have the same."""

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.events import Emit
from animdiff_cli.core.formats import Format
from animdiff_cli.diffusion.device import plan_device, probe_machine
from animdiff_cli.jobs.animator import Animator
from animdiff_cli.jobs.batch.tasks import Task
from animdiff_cli.jobs.cost import ClipCost, count_cost
from animdiff_cli.jobs.loading import load_animator
from animdiff_cli.jobs.memory_plan import with_memory_level
from animdiff_cli.jobs.rates import remember_rate
from animdiff_cli.jobs.render import FinishedClip, collect_notes, write_file
from animdiff_cli.jobs.timer import ClipTimer
from animdiff_cli.jobs.weight_files import find_weights
from animdiff_cli.jobs.weights import check_weights
from animdiff_cli.storage.location import Location


@dataclass(slots=True)
class LocalRenderer:
    """Renders on one device of this machine."""

    device: str  # auto, cuda, cuda:N, mps or cpu
    threads: int | None = None
    _group: int | None = None
    _animator: Animator | None = None
    _timer: ClipTimer | None = None  # of the first clip after loading, which gives the rate for a dry run
    _cost: ClipCost | None = None

    def render(self, task: Task, files: Mapping[Format, Location], emit: Emit) -> FinishedClip:
        """Render a task and write its files, replacing any. Loads the weights unless the last task had the same."""
        began = time.monotonic()
        notes: list[str] = []
        emit = collect_notes(emit, notes)
        config = GenerateConfig.model_validate(task.config)
        animator = self._loaded(config, task.group, emit)
        timer, self._timer = self._timer, None
        clip = animator.render(config, timer.watching(emit) if timer else emit)
        written = {format: write_file(clip, path, format, emit, True) for format, path in files.items()}
        if timer and self._cost and (rate := timer.rate(self._cost)):
            remember_rate(rate)
        return FinishedClip(clip.recipe, written, time.monotonic() - began, tuple(notes))

    def _loaded(self, config: GenerateConfig, group: int, emit: Emit) -> Animator:
        if self._animator is None or self._group != group:
            self._forget()
            if self.threads:
                torch.set_num_threads(self.threads)
            checked = check_weights(find_weights(config))
            planned = with_memory_level(plan_device(probe_machine(), self.device, config.dtype), config, checked)
            self._cost = count_cost(config, checked, planned)  # while the files are open
            self._timer = ClipTimer(planned)
            self._animator, self._group = load_animator(checked, planned, emit=emit), group
            self.threads = torch.get_num_threads() if planned.kind == "cpu" else None
        return self._animator

    def _forget(self) -> None:
        """Free the memory of the last weights before others are loaded."""
        self._animator = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
