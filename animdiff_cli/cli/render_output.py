"""What `generate` prints: the clips it rendered or skipped, and the plan of a dry run."""

from dataclasses import replace
from typing import TYPE_CHECKING

from animdiff_cli.cli.cost_output import cost_lines, cost_record, exact_flops, tera
from animdiff_cli.cli.missing_weights import fetch_lines, missing_sizes
from animdiff_cli.cli.out import print_err, print_json, print_paths, print_record, print_summary
from animdiff_cli.cli.plan_summary import summary
from animdiff_cli.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from animdiff_cli.core.events import Emit
    from animdiff_cli.jobs.compare_exact import Comparison
    from animdiff_cli.jobs.output_paths import OutputPaths
    from animdiff_cli.jobs.render import FinishedClip
    from animdiff_cli.jobs.render_plan import RenderPlan
    from animdiff_cli.jobs.serve.via import ReceivedClip

    WrittenClip = FinishedClip | ReceivedClip


def without_done(
    plan: "RenderPlan", outputs: "OutputPaths", *, quiet: bool, as_json: bool
) -> "tuple[RenderPlan, OutputPaths, list[str]]":
    """Print the files that exist already, and return the plan of the clips that are left, with the number of each."""
    numbers = [str(number) for number in range(1, len(plan.configs) + 1)]
    done = [clip for clip in zip(numbers, plan.configs, outputs.done, strict=True) if clip[2]]
    for number, config, files in done:
        paths = {format: str(path) for format, path in files.items()}
        if as_json:
            from animdiff_cli.core.event_records import SkippedRecord
            from animdiff_cli.jobs.recipe import recorded_settings

            print_json(SkippedRecord(job=number, outputs=paths, config=recorded_settings(config)).record())
        else:
            print_paths(*paths.values())
    if done and not quiet:
        print_err(_exist_already(outputs))
    left = [clip for clip in zip(numbers, plan.configs, outputs.files, strict=True) if clip[2]]
    return (
        replace(plan, configs=tuple(config for _, config, _ in left)),
        replace(outputs, files=tuple(files for _, _, files in left), done=()),
        [number for number, _, _ in left],
    )


def _exist_already(outputs: "OutputPaths") -> str:
    """Count the clips that are complete, and those of which a format is missing."""
    partial = sum(bool(present and missing) for present, missing in zip(outputs.done, outputs.files, strict=True))
    complete = len(outputs.files) - sum(map(bool, outputs.files))
    line = f"exist already: {complete} of {counted(len(outputs.files), 'clip')}"
    return f"{line}, and some formats of {counted(partial, 'clip')}" if partial else line


def with_comparison(plan: "RenderPlan") -> "RenderPlan":
    """Return the plan that renders the exact clips too. Raises `UsageError` if the clips are exact already."""
    from animdiff_cli.jobs.compare_exact import require_inexact

    for config in plan.configs:
        require_inexact(config)
    return replace(plan, compare_exact=True)


def render_clips(
    plan: "RenderPlan", outputs: "OutputPaths", numbers: list[str], emit: "Emit", *, quiet: bool, as_json: bool
) -> None:
    """Render a plan and print every clip when its files are written, or all events as JSON.

    `numbers` identifies the clips in the events. `quiet` leaves only the events that say how a clip ended. Ctrl-C
    reports what is kept.
    """
    from animdiff_cli.jobs.render import render_to_files
    from animdiff_cli.jobs.render_stream import render_with_records

    if as_json:
        clips = render_with_records(plan, outputs, numbers, emit, print_record(quiet=quiet))
    else:
        clips = render_to_files(plan, outputs, emit)
    print_clips(clips, len(plan.configs), can_resume=not plan.seeds_drawn, quiet=quiet, as_json=as_json)


def print_clips(clips: "Iterable[WrittenClip]", total: int, *, can_resume: bool, quiet: bool, as_json: bool) -> None:
    """Print the files of every clip when they are written; with `as_json`, its events were printed already.

    Ctrl-C reports what is kept of `total` clips, and how to render the rest if they `can_resume`.
    """
    kept = 0
    try:
        for clip in clips:
            kept += 1
            if not as_json:
                print_paths(*clip.files.values())
                if not hasattr(clip, "record") and clip.comparison:
                    print_err(*comparison_lines(clip.comparison, clip.recipe["config"]["seed"]))
    except KeyboardInterrupt:
        if not quiet:
            print_err(f"interrupted: {kept} of {counted(total, 'clip')} finished and kept")
            if kept and can_resume:
                print_err("hint: to render the rest, run the same command with `--skip-existing`")
        raise


def comparison_lines(comparison: "Comparison", seed: int) -> list[str]:
    """Describe a comparison: how far the clip is from the exact one, and a table of both."""
    from animdiff_cli.metrics.results import BY_KEY, format_value

    keys = [key for key in comparison.measures if not BY_KEY[key].is_detail]
    far = f"PSNR {format_value('psnr', comparison.psnr)} dB, SSIM {format_value('ssim', comparison.ssim)}"
    rows = [["", "seconds", *(BY_KEY[key].title for key in keys)]]
    for name, seconds, measures in (
        ("this clip", comparison.seconds, comparison.measures),
        ("exact clip", comparison.exact_seconds, comparison.exact_measures),
    ):
        rows.append([name, f"{seconds:.1f}", *(format_value(key, measures[key]) for key in keys)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return [f"seed {seed} against the exact clip: {far}", *table]


def print_plan(
    plan: "RenderPlan", outputs: "OutputPaths", *, online: bool, planning_seconds: float, as_json: bool, quiet: bool
) -> None:
    """Print what a dry run would render: the files on stdout, a summary with its cost on stderr.

    `online`: request the sizes of missing weights that the catalog does not have. `planning_seconds`: what the command
    has taken so far, as a render will.
    """
    from animdiff_cli.jobs.estimate import estimate

    estimated = estimate(plan)
    cost = cost_record(estimated) if estimated else None
    missing = missing_sizes(plan.missing, online=online)
    for config, files in zip(plan.configs, outputs.files, strict=True):
        paths = {format: str(path) for format, path in files.items()}
        if as_json:
            settings, device = config.model_dump(mode="json"), str(plan.device.device)
            print_json({"outputs": paths, "device": device, "fetch": missing, "cost": cost, "config": settings})
        else:
            print_paths(*paths.values())
    if not quiet:
        for line in fetch_lines(missing):
            print_err(f"would fetch {line}")
        for note in plan.notes:
            print_summary(f"note: {note}")
        print_summary(f"would render {summary(plan, plan.configs)}")
        for line in cost_lines(estimated, planning_seconds) if estimated else []:
            print_summary(line)
        if plan.compare_exact and estimated:
            print_summary(f"each exact clip to compare with: {tera(exact_flops(plan))} more")
