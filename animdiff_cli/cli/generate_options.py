"""Options of `animdiff generate`."""

from pathlib import Path
from typing import Annotated, get_args

from animdiff_cli.cli import complete
from animdiff_cli.cli.options import DEVICE, MODELS, MOTION, OUTPUT, SAMPLING, SOURCES, option
from animdiff_cli.core.choices import (
    Dtype,
    FreeInitFilter,
    LoraAlphaMode,
    LowVram,
    Scheduler,
    StepCache,
    Switch,
    WeightsDtype,
)
from animdiff_cli.core.formats import FORMATS

SCALED = "<ref[@scale]>"
CURVE = "<number or curve>"
SCHEDULERS = get_args(Scheduler)

MotionModuleOpt = Annotated[
    list[str] | None,
    option(
        "--motion-module",
        help="Motion module: alias or file. Repeatable with scales, to mix several of one layout.",
        panel=MODELS,
        autocompletion=complete.models("motion-module"),
        metavar=SCALED,
    ),
]
MotionLoraOpt = Annotated[
    list[str] | None,
    option(
        "--motion-lora",
        help="MotionLoRA, for example zoom-in@0.8. Repeatable.",
        panel=MODELS,
        autocompletion=complete.models("motion-lora"),
        metavar=SCALED,
    ),
]
LoraOpt = Annotated[
    list[str] | None,
    option(
        "--lora",
        help="LoRA of the image model. Repeatable.",
        panel=MODELS,
        autocompletion=complete.models("lora"),
        metavar=SCALED,
    ),
]
LoraAlphaModeOpt = Annotated[
    LoraAlphaMode | None,
    option(
        "--lora-alpha-mode",
        help="`alpha`: use the LoRA's own value. `official`: ignore it, as the original code does.",
        panel=MODELS,
    ),
]
DomainAdapterOpt = Annotated[
    str | None,
    option(
        "--domain-adapter",
        help="Domain adapter of the motion module.",
        panel=MODELS,
        autocompletion=complete.models("domain-adapter"),
        metavar=SCALED,
    ),
]
VaeOpt = Annotated[
    str | None,
    option(
        "--vae",
        help="VAE to use instead of the model's own.",
        panel=MODELS,
        autocompletion=complete.models("vae"),
        metavar="<ref>",
    ),
]
EmbeddingOpt = Annotated[
    list[str] | None,
    option(
        "--embedding",
        help="Textual inversion; its file name is its token in prompts. Repeatable.",
        panel=MODELS,
        autocompletion=complete.models("embedding"),
        metavar="<ref>",
    ),
]
SeedOpt = Annotated[
    list[int] | None,
    option(
        "--seed",
        "-s",
        help="Seed, an unsigned 64-bit integer; random by default. Repeatable.",
        panel=SAMPLING,
        metavar="<int>",
    ),
]
RepeatOpt = Annotated[
    int, option("--repeat", help="Number of clips per prompt and seed.", panel=SAMPLING, metavar="<int>")
]
StepsOpt = Annotated[int | None, option("--steps", help="Denoising steps.", panel=SAMPLING)]
GuidanceScaleOpt = Annotated[
    str | None,
    option(
        "--guidance-scale",
        help="Classifier-free guidance scale; 1 turns guidance off.",
        panel=SAMPLING,
        metavar=CURVE,
    ),
]
SchedulerOpt = Annotated[
    str | None,
    option(
        "--scheduler",
        help=f"Scheduler: {', '.join(SCHEDULERS)}.",
        panel=SAMPLING,
        autocompletion=complete.schedulers,
        metavar="<name>",
    ),
]
GuidanceUntilOpt = Annotated[
    float | None,
    option(
        "--guidance-until",
        help="Share of the steps that have guidance, as in 0.6; later ones take half the time. Not exact.",
        panel=SAMPLING,
        metavar="<0 to 1>",
    ),
]
CacheOpt = Annotated[
    StepCache | None,
    option(
        "--cache",
        help="deep:N: compute the deep layers of the UNet in every Nth step, and reuse them in between. Not exact.",
        panel=SAMPLING,
        metavar="<off or deep:n>",
    ),
]
CompareExactOpt = Annotated[
    bool,
    option(
        "--compare-exact",
        help="Render each clip also without `--cache` and `--guidance-until`, and print how they differ on stderr.",
        panel=SAMPLING,
    ),
]
ClipSkipOpt = Annotated[
    int | None, option("--clip-skip", help="Number of last text-encoder layers to skip.", panel=SAMPLING)
]
FreeInitOpt = Annotated[
    int | None,
    option("--free-init", help="Sample the clip this many times, from better noise each time.", panel=SAMPLING),
]
FreeInitFilterOpt = Annotated[
    FreeInitFilter | None, option("--free-init-filter", help="Filter of `--free-init`.", panel=SAMPLING)
]
FramesOpt = Annotated[int | None, option("--frames", "-L", help="Number of frames.", panel=MOTION)]
FpsOpt = Annotated[float | None, option("--fps", help="Frames per second.", panel=MOTION)]
MotionScaleOpt = Annotated[
    str | None,
    option(
        "--motion-scale",
        help="How much a clip moves: 1 as trained, up to 10; at 0 frames do not follow from each other.",
        panel=MOTION,
        metavar=CURVE,
    ),
]
NoMotionOpt = Annotated[bool, option("--no-motion", help="Render still frames without a motion module.", panel=MOTION)]
WidthOpt = Annotated[int | None, option("--width", "-W", help="Width in pixels, a multiple of 8.", panel=OUTPUT)]
HeightOpt = Annotated[int | None, option("--height", "-H", help="Height in pixels, a multiple of 8.", panel=OUTPUT)]
OutputOpt = Annotated[
    str | None,
    option(
        "--output",
        "-o",
        help="File, folder/, or template such as 'night/{slug}_{seed}.gif'; also a URL, as in s3://bucket/night/.",
        panel=OUTPUT,
        metavar="<path>",
    ),
]
FormatOpt = Annotated[
    list[str] | None,
    option(
        "--format",
        "-f",
        help=f"{', '.join(FORMATS)}. Repeatable.",
        panel=OUTPUT,
        autocompletion=complete.formats,
        metavar="<name>",
    ),
]
OverwriteOpt = Annotated[bool, option("--overwrite", help="Overwrite existing files.", panel=OUTPUT)]
SkipExistingOpt = Annotated[
    bool,
    option(
        "--skip-existing",
        help="Skip clips that exist with the same recipe. The default name has a date: set `--output` to resume on"
        " another day.",
        panel=OUTPUT,
    ),
]
CompileOpt = Annotated[
    Switch | None,
    option(
        "--compile",
        help="Compile blocks of the networks: the first clip of a size takes longer. auto compiles nothing: on a CPU it"
        " does not pay, on a GPU it is not measured.",
        panel=DEVICE,
    ),
]
WeightsDtypeOpt = Annotated[
    WeightsDtype | None,
    option("--weights-dtype", help="Storage of the UNet's weights: as they compute, or 8 bits.", panel=DEVICE),
]
LowVramOpt = Annotated[
    LowVram | None,
    option("--low-vram", help="Keep weights in main memory. `auto`: if the GPU has too little.", panel=DEVICE),
]
DtypeOpt = Annotated[Dtype | None, option("--dtype", help="Precision of the weights.", panel=DEVICE)]
FromOpt = Annotated[
    Path | None,
    option("--from", help="Render a clip again from its embedded recipe.", panel=SOURCES, metavar="<file>"),
]
OfflineOpt = Annotated[bool, option("--offline", help="Use only files on this machine.", panel=SOURCES)]
FetchOpt = Annotated[
    bool | None,
    option(
        "--fetch/--no-fetch",
        help="Download missing weights without asking, or not at all. Default: download; with `--from`, ask.",
        panel=SOURCES,
    ),
]
ViaOpt = Annotated[
    str | None,
    option(
        "--via",
        help="Render with a running `animdiff serve`: auto for the one on this machine, or its URL.",
        panel=DEVICE,
        metavar="<auto or url>",
    ),
]
DryRunOpt = Annotated[bool, option("--dry-run", help="Print what would be rendered and exit.", panel=SOURCES)]
ProbeOpt = Annotated[
    bool,
    option(
        "--probe",
        help="Time one UNet call of this clip on this machine, then print what `--dry-run` prints.",
        panel=SOURCES,
    ),
]
ContextShowOpt = Annotated[bool, option("--context-show", help="Draw the context windows and exit.", panel=SOURCES)]
