"""Options of the three training commands."""

from pathlib import Path
from typing import Annotated, get_args

from animdiff_cli.cli import complete
from animdiff_cli.cli.options import DEVICE, MODELS, OUTPUT, SOURCES, option
from animdiff_cli.core.choices import Dtype, LoraFormat, Optimizer, Shot

DATA, TRAINING, MONITORING = "Data", "Training", "Monitoring"


VideosOpt = Annotated[
    Path | None,
    option("--videos", help="Folder of videos, a list of videos, or shards.", panel=DATA, metavar="<path>"),
]
CaptionOpt = Annotated[
    str | None, option("--caption", help="Caption of videos without one.", panel=DATA, metavar="<text>")
]
ShotOpt = Annotated[
    str | None,
    option(
        "--shot",
        help=f"Camera move to synthesize from videos or images: {', '.join(get_args(Shot))}.",
        panel=DATA,
        autocompletion=complete.values(lambda: get_args(Shot)),
        metavar="<name>",
    ),
]
FramesOpt = Annotated[int | None, option("--frames", "-L", help="Frames per clip.", panel=DATA)]
StrideOpt = Annotated[int | None, option("--stride", help="Use every Nth frame.", panel=DATA)]
SizeOpt = Annotated[
    int | None, option("--size", help="Shorter side of clips in pixels. Default: 256; 512 for SDXL.", panel=DATA)
]
FpsOpt = Annotated[float | None, option("--fps", help="Frame rate before the stride.", panel=DATA)]
LimitOpt = Annotated[int | None, option("--limit", help="Use only the first N videos.", panel=DATA)]
PreviewOpt = Annotated[
    Path | None,
    option("--preview-data", help="Write sample training clips to this folder and exit.", panel=DATA, metavar="<dir>"),
]

ModuleOpt = Annotated[
    str | None,
    option(
        "--motion-module",
        help="Motion module: alias or file.",
        panel=MODELS,
        autocompletion=complete.models("motion-module"),
        metavar="<ref>",
    ),
]
ResumeFromOpt = Annotated[
    str | None,
    option(
        "--resume-from",
        help="Motion module to start from instead of random weights.",
        panel=MODELS,
        autocompletion=complete.models("motion-module"),
        metavar="<ref>",
    ),
]
VersionOpt = Annotated[
    str | None,
    option(
        "--motion-version",
        help="Version of a new motion module: v1, v2 or v3; sdxl or hotshot for SDXL.",
        panel=MODELS,
        autocompletion=complete.values(lambda: ("v1", "v2", "v3", "sdxl", "hotshot")),
        metavar="<name>",
    ),
]
AdapterOpt = Annotated[
    str | None,
    option(
        "--domain-adapter",
        help="Frozen domain adapter.",
        panel=MODELS,
        autocompletion=complete.models("domain-adapter"),
        metavar="<ref[@scale]>",
    ),
]

StepsOpt = Annotated[int | None, option("--steps", help="Optimizer steps.", panel=TRAINING)]
LrOpt = Annotated[float | None, option("--lr", help="Learning rate.", panel=TRAINING)]
RankOpt = Annotated[int | None, option("--rank", help="LoRA rank.", panel=TRAINING)]
BatchOpt = Annotated[
    int | None, option("--batch", help="Batch size: clips per process and micro-batch.", panel=TRAINING)
]
AccumulationOpt = Annotated[
    int | None, option("--accumulation", help="Gradient accumulation: micro-batches per step.", panel=TRAINING)
]
OptimizerOpt = Annotated[
    str | None,
    option(
        "--optimizer",
        help=f"Optimizer: {', '.join(get_args(Optimizer))}.",
        panel=TRAINING,
        autocompletion=complete.values(lambda: get_args(Optimizer)),
        metavar="<name>",
    ),
]
EmaOpt = Annotated[
    float | None, option("--ema", help="Decay of the exponential moving average to save; 0 is off.", panel=TRAINING)
]
AsLoraOpt = Annotated[
    bool | None,
    option("--as-lora", help="Save an ordinary LoRA for `generate --lora`.", panel=OUTPUT),
]
SpatialOpt = Annotated[
    bool | None,
    option(
        "--spatial-lora/--no-spatial-lora",
        help="Train a LoRA that absorbs appearance and is discarded; on by default.",
        panel=TRAINING,
    ),
]
CheckpointingOpt = Annotated[
    bool | None,
    option(
        "--gradient-checkpointing/--no-gradient-checkpointing",
        help="Save memory at a third more time; on by default if memory is short.",
        panel=TRAINING,
    ),
]
SeedOpt = Annotated[int | None, option("--seed", "-s", help="Seed of data, noise and initial weights.", panel=TRAINING)]

SampleEveryOpt = Annotated[int | None, option("--sample-every", help="Steps between sample clips.", panel=MONITORING)]
SamplePromptOpt = Annotated[
    list[str] | None,
    option("--sample-prompt", help="Prompt of sample clips. Repeatable.", panel=MONITORING, metavar="<text>"),
]
SaveEveryOpt = Annotated[int | None, option("--save-every", help="Steps between checkpoints.", panel=MONITORING)]
KeepOpt = Annotated[int | None, option("--keep", help="Checkpoints to keep.", panel=MONITORING)]
TensorboardOpt = Annotated[
    bool | None, option("--tensorboard", help="Also write TensorBoard event files.", panel=MONITORING)
]

OutputOpt = Annotated[
    Path | None,
    option("--output", "-o", help="Folder of the run, or `NAME.safetensors`.", panel=OUTPUT, metavar="<path>"),
]
FormatOpt = Annotated[
    str | None,
    option(
        "--format",
        help=f"Layout of the saved weights: {', '.join(get_args(LoraFormat))}.",
        panel=OUTPUT,
        autocompletion=complete.values(lambda: get_args(LoraFormat)),
        metavar="<name>",
    ),
]
OverwriteOpt = Annotated[bool, option("--overwrite", help="Start over in a folder that has a run.", panel=OUTPUT)]
DtypeOpt = Annotated[Dtype | None, option("--dtype", help="Precision of frozen weights.", panel=DEVICE)]
DryRunOpt = Annotated[bool, option("--dry-run", help="Print what would be trained and exit.", panel=SOURCES)]
