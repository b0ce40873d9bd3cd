"""`animdiff convert`: convert weight files between layouts."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from animdiff_cli.cli import complete
from animdiff_cli.cli.options import MODELS, OUTPUT, JsonOpt, QuietOpt
from animdiff_cli.cli.out import print_err, print_json, print_paths
from animdiff_cli.core.text import counted


class To(StrEnum):
    """Layouts to write. `comfy` is the one that ComfyUI reads for the kind of file."""

    original = "original"
    diffusers = "diffusers"
    kohya = "kohya"
    peft = "peft"
    comfy = "comfy"


class FloatDtype(StrEnum):
    """Dtypes to write."""

    fp16 = "fp16"
    bf16 = "bf16"
    fp32 = "fp32"


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="<src>",
            help="Weight file, diffusers folder or alias.",
            show_default=False,
            autocompletion=complete.models(),
        ),
    ],
    to: Annotated[
        To | None,
        typer.Option(
            "--to",
            rich_help_panel=OUTPUT,
            help="Layout to write. Default: the current layout; kohya for a LoRA in the original layout.",
        ),
    ] = None,
    dtype: Annotated[
        FloatDtype | None,
        typer.Option("--dtype", rich_help_panel=OUTPUT, help="Dtype to write. Default: the current dtype."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            rich_help_panel=OUTPUT,
            help="Output file or folder. Default: beside a source given by path, else in the current folder.",
            show_default=False,
        ),
    ] = None,
    merge_lora: Annotated[
        list[str] | None,
        typer.Option(
            "--merge-lora",
            metavar="<ref[@scale]>",
            rich_help_panel=MODELS,
            help="Merge a LoRA into the weights. Repeatable.",
            autocompletion=complete.models("lora"),
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=OUTPUT, help="Replace an existing output.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", rich_help_panel=OUTPUT, help="Show what happens to every key. Write nothing.")
    ] = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Convert weights between the AnimateDiff, diffusers, kohya, peft and ComfyUI layouts."""
    from animdiff_cli.jobs.convert import convert_weights, plan_conversion

    plan = plan_conversion(
        source,
        to.value if to else None,
        dtype=dtype.value if dtype else None,
        output=output,
        merge_loras=merge_lora or (),
        overwrite=overwrite,
    )
    totals: dict[str, Any] = plan.totals() | {"dry_run": dry_run}
    if not dry_run:
        totals["not_finite"] = list(convert_weights(plan).not_finite)
    if not quiet:
        _print_summary(totals)
    if json_:
        print_json(totals)
    else:
        print_paths(totals["path"])


def _print_summary(totals: dict[str, Any]) -> None:
    """Print the counts of tensors to stderr."""
    print_err(
        f"{totals['kind']}, {totals['from']} to {totals['to']}: {counted(totals['tensors'], 'tensor')} read,"
        f" {totals['written']} {'to write' if totals['dry_run'] else 'written'}"
    )
    for what in ("dropped", "added"):
        for reason, count in totals[what].items():
            print_err(f"  {count} {what}: {reason}")
    if broken := totals.get("not_finite"):
        print_err(f"warning: NaN or infinity in {counted(len(broken), 'tensor')}, first `{broken[0]}`")
