"""`animdiff evaluate`: what clips are worth in numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from animdiff_cli.cli.options import DEVICE, OUTPUT, JsonOpt, QuietOpt
from animdiff_cli.cli.out import print_json
from animdiff_cli.cli.progress import show_progress
from animdiff_cli.core.events import Written

if TYPE_CHECKING:
    from animdiff_cli.metrics.figures import ClipFigures

COMPARE = "Compare with"


def evaluate(
    clips: Annotated[
        list[Path],
        typer.Argument(
            metavar="<clip>",
            help="gif, mp4, webm, webp, apng, a folder of frames, or a folder of clips.",
            show_default=False,
        ),
    ],
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt",
            "-p",
            rich_help_panel=COMPARE,
            metavar="<text>",
            help="What the clips should show: one for all, or one for each. Without it, what their recipes say.",
        ),
    ] = None,
    clip: Annotated[
        str | None,
        typer.Option(
            "--clip",
            rich_help_panel=COMPARE,
            metavar="<ref>",
            show_default=False,
            help="CLIP encoder for text, domain and smooth: clip-vit-l14, or a CLIPModel folder.",
        ),
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            "--reference",
            rich_help_panel=COMPARE,
            metavar="<stills>",
            help="Stills of the same image model, a file or folder. Repeatable.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            rich_help_panel=COMPARE,
            metavar="<clip>",
            show_default=False,
            help="A clip of the same length and size, for SSIM and PSNR.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            rich_help_panel=OUTPUT,
            metavar="<file>",
            show_default=False,
            help="Write a page with the clips beside their figures: report.html, or a folder for it.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=OUTPUT, help="Replace the report if it is there.")
    ] = False,
    device: Annotated[
        str, typer.Option("--device", rich_help_panel=DEVICE, help="Where CLIP runs: auto, cuda, cuda:1, mps or cpu.")
    ] = "auto",
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Measure clips: agreement with the prompt, smoothness, motion, flicker, loop seam, camera."""
    from animdiff_cli.jobs.evaluate import measure, plan_evaluation
    from animdiff_cli.metrics.report import report_path, write_report

    target = report_path(report, overwrite=overwrite) if report else None
    plan = plan_evaluation(
        clips, prompts=prompt or (), references=reference or (), clip=clip, against=against, device=device
    )
    with show_progress(quiet=quiet or json_) as emit:
        found = measure(plan, emit)
        if target:
            write_report(found.clips, found.notes, target)
            emit(Written(target, target.stat().st_size))
    if json_:
        print_json(found.record() | {"report": str(target) if target else None})
    else:
        for line in table(found.clips):
            print(line)


def table(clips: Sequence["ClipFigures"]) -> list[str]:
    """Lay the figures out in columns: names with directions, units, a row for each clip, the mean of several."""
    from animdiff_cli.metrics.figures import NONE, columns, mean_values, told

    shown = columns(clips)
    has_camera = any(measure.needs == "opencv" for measure in shown)
    rows = [["clip", *(measure.title for measure in shown)], ["", *(measure.unit for measure in shown)]]
    names = _names([clip.path for clip in clips])
    rows += [
        [name, *(told(measure.key, clip.values.get(measure.key)) for measure in shown)]
        for name, clip in zip(names, clips, strict=True)
    ]
    tails = ["camera", "per frame", *(str(clip.camera) if clip.camera else NONE for clip in clips)]
    if len(clips) > 1:
        means = mean_values(clips)
        rows.append(["mean", *(told(measure.key, means[measure.key]) for measure in shown)])
        tails.append("")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row, tail in zip(rows, tails, strict=True):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join([*cells, tail] if has_camera else cells).rstrip())
    return lines


def _names(paths: Sequence[Path]) -> list[str]:
    """Name clips by their files where that tells them apart, else by their paths."""
    names = [path.name or str(path) for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]
