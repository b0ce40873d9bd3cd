"""`animdiff evaluate`: compute metrics of clips."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from animdiff_cli.cli import complete
from animdiff_cli.cli.options import DEVICE, OUTPUT, JsonOpt, QuietOpt
from animdiff_cli.cli.out import print_json, print_out
from animdiff_cli.core.formats import FILE_FORMATS
from animdiff_cli.core.text import printable

if TYPE_CHECKING:
    from animdiff_cli.metrics.results import ClipResult

COMPARE = "Compare with"


def evaluate(
    clips: Annotated[
        list[Path],
        typer.Argument(
            metavar="<clip>",
            help=f"Clips to evaluate: {FILE_FORMATS} files, folders of frames, or folders of clips.",
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
            help="Prompt for the text metric: one for all clips, or one per clip. Default: from the clips' recipes.",
        ),
    ] = None,
    clip: Annotated[
        str | None,
        typer.Option(
            "--clip",
            rich_help_panel=COMPARE,
            metavar="<ref>",
            show_default=False,
            autocompletion=complete.models("clip-encoder"),
            help="CLIP encoder for the metrics text, domain and smooth: clip-vit-l14, or a CLIPModel folder.",
        ),
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            "--reference",
            rich_help_panel=COMPARE,
            metavar="<images>",
            help="Images from the same image model for the domain metric: a file or folder. Repeatable.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            rich_help_panel=COMPARE,
            metavar="<clip>",
            show_default=False,
            help="Clip of the same length and size to compute SSIM and PSNR against.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            rich_help_panel=OUTPUT,
            metavar="<file>",
            show_default=False,
            help="Write an HTML report with the clips and their metrics to this file or folder.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=OUTPUT, help="Replace an existing report.")
    ] = False,
    device: Annotated[
        str, typer.Option("--device", rich_help_panel=DEVICE, help="Device for CLIP: auto, cuda, cuda:1, mps or cpu.")
    ] = "auto",
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Compute metrics of clips: prompt alignment, smoothness, motion, flicker, loop seam, camera motion."""
    from animdiff_cli.cli.progress import show_progress
    from animdiff_cli.core.events import Written
    from animdiff_cli.jobs.evaluate import plan_evaluation, run_evaluation
    from animdiff_cli.metrics.report import report_path, write_report

    target = report_path(report, overwrite=overwrite) if report else None
    plan = plan_evaluation(
        clips, prompts=prompt or (), references=reference or (), clip=clip, against=against, device=device
    )
    with show_progress(quiet=quiet) as emit:
        evaluation = run_evaluation(plan, emit)
        if target:
            write_report(evaluation.clips, evaluation.notes, target)
            emit(Written(target, target.stat().st_size))
    if json_:
        print_json(evaluation.record() | {"report": str(target) if target else None})
    else:
        print_out(*table(evaluation.clips))


def table(clips: Sequence["ClipResult"]) -> list[str]:
    """Format results as text: two header lines, a row per clip, and the mean of several clips."""
    from animdiff_cli.metrics.results import NOT_COMPUTED, computed_metrics, format_value, mean_values

    metrics = computed_metrics(clips)
    has_camera = any(metric.needs == "opencv" for metric in metrics)
    rows = [["clip", *(metric.title for metric in metrics)], ["", *(metric.unit for metric in metrics)]]
    names = _names([clip.path for clip in clips])
    rows += [
        [name, *(format_value(metric.key, clip.values.get(metric.key)) for metric in metrics)]
        for name, clip in zip(names, clips, strict=True)
    ]
    camera = ["camera", "per frame", *(str(clip.camera) if clip.camera else NOT_COMPUTED for clip in clips)]
    if len(clips) > 1:
        means = mean_values(clips)
        rows.append(["mean", *(format_value(metric.key, means[metric.key]) for metric in metrics)])
        camera.append("")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row, motion in zip(rows, camera, strict=True):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join([*cells, motion] if has_camera else cells).rstrip())
    return lines


def _names(paths: Sequence[Path]) -> list[str]:
    """Return file names if they are unique, else paths."""
    names = [printable(path.name or path) for path in paths]
    return names if len(set(names)) == len(names) else [printable(path) for path in paths]
