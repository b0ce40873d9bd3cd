"""Plan a batch: read the whole file, resolve every job, name its files, and check all of it before a weight loads."""

from collections.abc import Sequence

from animdiff_cli.jobs.batch.expand import DEFAULT_LIMIT
from animdiff_cli.jobs.batch.groups import plan_groups
from animdiff_cli.jobs.batch.records import BatchPlan
from animdiff_cli.jobs.batch.resolve import NO_SETTINGS, BatchSettings, ResolvedBatch, resolve_batch
from animdiff_cli.jobs.missing_weights import OnMissing, refuse_missing


def plan_batch(
    text: str,
    name: str,
    *,
    output: str | None = None,
    formats: Sequence[str] = (),
    settings: BatchSettings = NO_SETTINGS,
    device: str = "auto",
    on_missing: OnMissing = refuse_missing,
    only: Sequence[str] = (),
    limit: int = DEFAULT_LIMIT,
    allow_date: bool = False,
) -> BatchPlan:
    """Plan the jobs in the `text` of a batch file called `name`.

    `output` is a folder or URL, with a template of names if it has fields; `formats` are those of jobs that name none.
    `only` selects jobs by a pattern of their files or by `key=value`. Missing weights of all jobs are passed to
    `on_missing` together, after everything else is checked.

    Raises one `AnimdiffError` that lists every mistake with its file, line and key.
    """
    resolved = resolve_batch(
        text,
        name,
        output=output,
        formats=formats,
        settings=settings,
        only=only,
        limit=limit,
        allow_date=allow_date,
    )
    return plan_resolved_batch(resolved, device=device, on_missing=on_missing)


def plan_resolved_batch(
    batch: ResolvedBatch, *, device: str = "auto", on_missing: OnMissing = refuse_missing
) -> BatchPlan:
    """Plan jobs whose settings are resolved. Raises one `AnimdiffError` that lists every mistake."""
    jobs, groups = plan_groups(batch.jobs, device, on_missing, batch.mistakes, batch.source)
    notes = (*batch.notes, *(note for group in groups for note in group.notes))
    return BatchPlan(batch.output, tuple(jobs), tuple(groups), tuple(dict.fromkeys(notes)))
