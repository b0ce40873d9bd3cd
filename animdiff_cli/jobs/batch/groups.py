"""Group the jobs of a batch by their weights, and plan each group: files are checked once per group."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from animdiff_cli.errors import AnimdiffError
from animdiff_cli.jobs.batch.mistakes import Mistakes
from animdiff_cli.jobs.batch.records import BatchJob, Resolvable, weights_key
from animdiff_cli.jobs.missing_weights import OnMissing
from animdiff_cli.jobs.render_plan import RenderPlan, plan_resolved
from animdiff_cli.jobs.weights import CheckedWeights


def plan_groups(
    jobs: Sequence[Resolvable], device: str, on_missing: OnMissing, mistakes: Mistakes, source: str
) -> tuple[list[BatchJob], list[RenderPlan]]:
    """Return the jobs ordered by their weights, and the plan of each set of weights in the order of first use.

    Missing weights are passed to `on_missing` together. Raises one `AnimdiffError` that lists all mistakes.
    """
    grouped: dict[object, list[Resolvable]] = {}
    for job in jobs:
        grouped.setdefault(weights_key(job.job.config), []).append(job)
    plans = [_plan_group(group, device, mistakes) for group in grouped.values()]
    mistakes.raise_found(source)
    missing = dict.fromkeys(name for plan in plans if plan for name in plan.missing)
    if missing and on_missing(tuple(missing)):
        plans = [
            _plan_group(group, device, mistakes) if plan and plan.missing else plan
            for group, plan in zip(grouped.values(), plans, strict=True)
        ]
        mistakes.raise_found(source)
    ordered = [replace(job.job, group=number) for number, group in enumerate(grouped.values()) for job in group]
    return ordered, [plan for plan in plans if plan]


def _plan_group(group: Sequence[Resolvable], device: str, mistakes: Mistakes) -> RenderPlan | None:
    """Plan the jobs of one set of weights. Mistakes are added; None if nothing could be planned."""
    alike: dict[int, list[Resolvable]] = {}
    for job in group:
        alike.setdefault(id(job.resolved), []).append(job)
    plans: list[RenderPlan] = []
    weights: CheckedWeights | None = None
    for jobs in alike.values():
        for plan in _plans(jobs, device, weights, mistakes):
            weights = weights or plan.weights
            plans.append(plan)
    if not plans:
        return None
    configs = tuple(job.job.config for job in group)
    notes = tuple(dict.fromkeys(note for plan in plans for note in plan.notes))
    return replace(plans[0], configs=configs, notes=notes)


def _plans(
    jobs: Sequence[Resolvable], device: str, weights: CheckedWeights | None, mistakes: Mistakes
) -> Iterable[RenderPlan]:
    """Plan jobs of the same settings together; if that fails, one by one, to find those with a mistake."""
    clips = [job.clip for job in jobs]
    try:
        yield plan_resolved(jobs[0].resolved, clips, device=device, on_missing=_later, weights=weights)
        return
    except AnimdiffError as error:
        if len(jobs) == 1:
            mistakes.add(error, jobs[0].job.name)
            return
    for job in jobs:
        yield from _plans([job], device, weights, mistakes)


def _later(names: Sequence[str]) -> bool:
    """Report weights as missing for now: those of all groups are fetched together."""
    return False
