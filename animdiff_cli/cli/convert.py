"""`animdiff convert`: any weight file to any layout."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from animdiff_cli.cli.options import MODELS, OUTPUT, JsonOpt, QuietOpt
from animdiff_cli.cli.out import print_json


class To(StrEnum):
    """Layouts by the names people know them by."""

    original = "original"
    diffusers = "diffusers"
    kohya = "kohya"
    peft = "peft"
    comfy = "comfy"


class FloatFormat(StrEnum):
    """Number formats weights are written in."""

    fp16 = "fp16"
    bf16 = "bf16"
    fp32 = "fp32"


def convert(
    source: Annotated[
        str, typer.Argument(metavar="<src>", help="A weight file, a diffusers folder, or an alias.", show_default=False)
    ],
    to: Annotated[
        To | None, typer.Option("--to", rich_help_panel=OUTPUT, help="Layout to write; without it, the one there is.")
    ] = None,
    dtype: Annotated[
        FloatFormat | None, typer.Option("--dtype", rich_help_panel=OUTPUT, help="Number format; without it, as it is.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", rich_help_panel=OUTPUT, help="File or folder to write.", show_default=False),
    ] = None,
    merge_lora: Annotated[
        list[str] | None,
        typer.Option(
            "--merge-lora", metavar="<ref[@scale]>", rich_help_panel=MODELS, help="Bake a LoRA in. Repeatable."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=OUTPUT, help="Replace the output if it is there.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", rich_help_panel=OUTPUT, help="Account for every key, write nothing.")
    ] = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Convert weights between the layouts of AnimateDiff, diffusers, kohya, peft and ComfyUI."""
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
        _tell(totals)
    if json_:
        print_json(totals)
    else:
        print(totals["path"])


def _tell(totals: dict[str, Any]) -> None:
    """Account for the keys on stderr."""
    print(
        f"{totals['kind']}, {totals['from']} to {totals['to']}: {totals['tensors']} tensors read,"
        f" {totals['written']} {'to write' if totals['dry_run'] else 'written'}",
        file=sys.stderr,
    )
    for what in ("dropped", "added"):
        for reason, count in totals[what].items():
            print(f"  {count} {what}: {reason}", file=sys.stderr)
    if broken := totals.get("not_finite"):
        print(f"warning: {len(broken)} tensors hold NaN or infinity, first `{broken[0]}`", file=sys.stderr)
