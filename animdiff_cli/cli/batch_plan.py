"""What `animdiff batch --dry-run` prints: every job with its files, what would be fetched, and what all of it takes."""

from typing import TYPE_CHECKING, Any

from animdiff_cli.cli.cost_output import cost_record, tera
from animdiff_cli.cli.missing_weights import fetch_lines, missing_sizes
from animdiff_cli.cli.out import print_err, print_json, print_paths, print_summary
from animdiff_cli.cli.plan_summary import summary
from animdiff_cli.core.text import counted, format_duration

if TYPE_CHECKING:
    from animdiff_cli.jobs.batch.cost import BatchCost
    from animdiff_cli.jobs.batch.records import BatchJob, BatchPlan


def print_batch(plan: "BatchPlan", done: int, *, online: bool, as_json: bool, quiet: bool) -> None:
    """Print the files of every job on stdout, and a summary on stderr; as JSON, an object per job and one in total.

    `done` is the number of jobs that an earlier run has rendered, and that `plan` leaves out.
    `online`: request the sizes of missing weights that the catalog does not have.
    """
    from animdiff_cli.jobs.batch.cost import count_batch

    cost = count_batch(plan)
    names = dict.fromkeys(name for group in plan.groups for name in group.missing)
    missing = missing_sizes(list(names), online=online)
    if as_json:
        _print_records(plan, done, cost, missing)
    else:
        print_paths(*(path for job in plan.jobs for path in _files(plan, job).values()))
    if not quiet:
        for line in fetch_lines(missing):
            print_err(f"would fetch {line}")
        _print_summary(plan, done, cost)


def _print_records(plan: "BatchPlan", done: int, cost: "BatchCost", missing: list[dict[str, Any]]) -> None:
    for job, clip in zip(plan.jobs, cost.clips, strict=True):
        group = plan.groups[job.group]
        print_json(
            {
                "name": job.name,
                "outputs": _files(plan, job),
                "group": job.group,
                "device": str(group.device.device),
                "fetch": [item for item in missing if item["ref"] in group.missing],
                "cost": cost_record(clip) if clip else None,
                "config": job.config.model_dump(mode="json"),
            }
        )
    total = {"jobs": len(plan.jobs), "done_before": done, "groups": len(set(cost.groups)), "fetch": missing}
    seconds = round(cost.seconds, 2) if cost.seconds is not None else None
    print_json({"total": {**total, "flops": cost.flops, "memory_bytes": cost.memory_bytes, "seconds": seconds}})


def _print_summary(plan: "BatchPlan", done: int, cost: "BatchCost") -> None:
    from animdiff_cli.fetch.disk import format_bytes

    for note in plan.notes:
        print_summary(f"note: {note}")
    for number, group in enumerate(plan.groups):
        if configs := [job.config for job in plan.jobs if job.group == number]:
            print_summary(summary(group, configs))
    if done:
        print_summary(f"done before: {counted(done, 'clip')}")
    if not plan.jobs:
        print_summary("nothing is left to render")
        return
    total = f"would render {counted(len(plan.jobs), 'clip')} into {plan.output}"
    if (loads := len(set(cost.groups))) > 1:
        total += f", loading weights {loads} times"
    if cost.flops is None:
        print_summary(f"{total}; what it takes is counted when all weights are on this machine")
        return
    print_summary(f"{total}: {tera(cost.flops)}, about {format_bytes(cost.memory_bytes or 0)} of memory")
    if cost.seconds is None:
        print_summary(
            "time: some of it was never rendered on this machine; `animdiff generate --probe` measures a clip"
        )
    else:
        print_summary(f"time: about {format_duration(cost.seconds)} on this machine with one worker")


def _files(plan: "BatchPlan", job: "BatchJob") -> dict[str, str]:
    folder = plan.output.rstrip("/")
    return {format: path if folder == "." else f"{folder}/{path}" for format, path in job.outputs.items()}
