"""What a batch takes on this machine, counted before it is rendered."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from animdiff_cli.jobs.batch.names import canonical
from animdiff_cli.jobs.batch.records import BatchPlan
from animdiff_cli.jobs.estimate import Estimate, estimate


@dataclass(frozen=True)
class BatchCost:
    """The cost of every job of a plan."""

    clips: Sequence[Estimate | None]  # one per job, of this clip alone; None while weights of it are missing
    groups: Sequence[int]  # of each job

    @cached_property
    def flops(self) -> float | None:
        """Operations of all jobs. None while weights are missing."""
        costs = [clip.cost.flops for clip in self.clips if clip]
        return sum(costs) if len(costs) == len(self.clips) else None

    @cached_property
    def seconds(self) -> float | None:
        """Seconds of all jobs on one worker, each group loaded once. None if some of them were never measured."""
        loading: dict[int, float] = {}
        rendering = 0.0
        for clip, group in zip(self.clips, self.groups, strict=True):
            if clip is None or clip.rate is None:
                return None
            loading.setdefault(group, clip.rate.setup_seconds)
            rendering += clip.cost.seconds(clip.rate)
        return rendering + sum(loading.values())

    @cached_property
    def memory_bytes(self) -> int | None:
        """Peak memory of the largest job."""
        return max((clip.memory_bytes for clip in self.clips if clip), default=None)


def count_batch(plan: BatchPlan) -> BatchCost:
    """Count the cost of a plan. Jobs that differ in prompt and seed alone are counted once."""
    known: dict[tuple[int, str], Estimate | None] = {}
    clips = []
    for job in plan.jobs:
        alike = job.config.model_copy(update={"prompt": "", "negative_prompt": "", "seed": 0})
        key = job.group, canonical(alike)
        if key not in known:
            known[key] = estimate(replace(plan.groups[job.group], configs=(job.config,)))
        clips.append(known[key])
    return BatchCost(clips, [job.group for job in plan.jobs])
