"""Flags of the training commands, shared so that each means the same in all three."""

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from animdiff_cli.cli.options import DEVICE, MODELS, OUTPUT, SOURCES
from animdiff_cli.core.choices import Dtype, LoraFormat, Optimizer, Shot

DATA, TRAINING, WATCHING = "Data", "Training", "Watching"


def _option(*names: str, help: str, panel: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **more)


VideosOpt = Annotated[
    Path | None, _option("--videos", help="Folder of videos, a list of them, or shards.", panel=DATA, metavar="<path>")
]
CaptionOpt = Annotated[
    str | None, _option("--caption", help="What videos without a caption show.", panel=DATA, metavar="<text>")
]
ShotOpt = Annotated[
    str | None,
    _option("--shot", help=f"Camera move to make from any footage: {', '.join(get_args(Shot))}.", panel=DATA),
]
FramesOpt = Annotated[int | None, _option("--frames", "-L", help="Frames in a clip.", panel=DATA)]
StrideOpt = Annotated[int | None, _option("--stride", help="Every how many frames of the footage.", panel=DATA)]
SizeOpt = Annotated[int | None, _option("--size", help="Shorter side in pixels.", panel=DATA)]
FpsOpt = Annotated[float | None, _option("--fps", help="Frames per second before the stride.", panel=DATA)]
LimitOpt = Annotated[int | None, _option("--limit", help="Use only the first so many videos.", panel=DATA)]
PreviewOpt = Annotated[
    Path | None,
    _option(
        "--preview-data", help="Write what would be trained to this folder, and stop.", panel=DATA, metavar="<dir>"
    ),
]

ModelOpt = Annotated[
    str | None, _option("--model", "-m", help="Image model: alias, folder or file.", panel=MODELS, metavar="<ref>")
]
ModuleOpt = Annotated[
    str | None, _option("--motion-module", help="Motion module: alias or file.", panel=MODELS, metavar="<ref>")
]
ResumeFromOpt = Annotated[
    str | None,
    _option("--resume-from", help="Start from this motion module, not from zero.", panel=MODELS, metavar="<ref>"),
]
VersionOpt = Annotated[
    str | None,
    _option(
        "--motion-version",
        help="Layout of a new module: v1, v2, v3, or sdxl or hotshot on an SDXL model.",
        panel=MODELS,
    ),
]
AdapterOpt = Annotated[
    str | None,
    _option("--domain-adapter", help="Adapter to plug in, frozen.", panel=MODELS, metavar="<ref[@scale]>"),
]

StepsOpt = Annotated[int | None, _option("--steps", help="Optimiser steps.", panel=TRAINING)]
LrOpt = Annotated[float | None, _option("--lr", help="Learning rate.", panel=TRAINING)]
RankOpt = Annotated[int | None, _option("--rank", help="Rank of what is trained.", panel=TRAINING)]
BatchOpt = Annotated[int | None, _option("--batch", help="Clips at a time.", panel=TRAINING)]
AccumulationOpt = Annotated[int | None, _option("--accumulation", help="Batches per step.", panel=TRAINING)]
OptimizerOpt = Annotated[str | None, _option("--optimizer", help=f"{', '.join(get_args(Optimizer))}.", panel=TRAINING)]
EmaOpt = Annotated[float | None, _option("--ema", help="Save a moving average of this decay.", panel=TRAINING)]
AsLoraOpt = Annotated[
    bool | None,
    _option("--as-lora", help="Save an ordinary LoRA, for `generate --lora`: a look wanted for itself.", panel=OUTPUT),
]
SpatialOpt = Annotated[
    bool | None,
    _option(
        "--spatial-lora/--no-spatial-lora",
        help="Absorb appearance in a LoRA that is thrown away; on unless turned off.",
        panel=TRAINING,
    ),
]
CheckpointingOpt = Annotated[
    bool | None,
    _option(
        "--gradient-checkpointing/--no-gradient-checkpointing",
        help="Less memory, a third more time; where memory is short unless said.",
        panel=TRAINING,
    ),
]
SeedOpt = Annotated[int | None, _option("--seed", "-s", help="Decides data, noise and weights.", panel=TRAINING)]

SampleEveryOpt = Annotated[int | None, _option("--sample-every", help="Steps between sample clips.", panel=WATCHING)]
SamplePromptOpt = Annotated[
    list[str] | None,
    _option("--sample-prompt", help="What they show. Repeatable.", panel=WATCHING, metavar="<text>"),
]
SaveEveryOpt = Annotated[int | None, _option("--save-every", help="Steps between checkpoints.", panel=WATCHING)]
KeepOpt = Annotated[int | None, _option("--keep", help="Checkpoints to keep.", panel=WATCHING)]
TensorboardOpt = Annotated[bool | None, _option("--tensorboard", help="Write event files too.", panel=WATCHING)]

OutputOpt = Annotated[Path | None, _option("--output", "-o", help="Folder of the run.", panel=OUTPUT, metavar="<dir>")]
FormatOpt = Annotated[
    str | None, _option("--format", help=f"Layout of the result: {', '.join(get_args(LoraFormat))}.", panel=OUTPUT)
]
OverwriteOpt = Annotated[bool, _option("--overwrite", help="Begin anew in a folder that has a run.", panel=OUTPUT)]
DeviceOpt = Annotated[
    str,
    _option(
        "--device", help="auto, cuda, cuda:N, mps or cpu.", panel=DEVICE, envvar="ANIMDIFF_DEVICE", metavar="<name>"
    ),
]
DtypeOpt = Annotated[Dtype | None, _option("--dtype", help="Number format of frozen weights.", panel=DEVICE)]
DryRunOpt = Annotated[bool, _option("--dry-run", help="Say what would be trained, and stop.", panel=SOURCES)]
