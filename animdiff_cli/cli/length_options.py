"""Options of `animdiff generate` for long clips and loops."""

from typing import Annotated

from animdiff_cli.cli.options import LENGTH, option
from animdiff_cli.core.choices import ContextFuse, ContextMode, ContextSchedule, InitialNoise

LoopOpt = Annotated[
    bool | None, option("--loop/--no-loop", help="Render a loop: the last frame leads into the first.", panel=LENGTH)
]
ContextLengthOpt = Annotated[
    int | None,
    option(
        "--context-length",
        "-C",
        help="Frames of a window. A clip that is longer is rendered in overlapping windows. Default: a clip that fits"
        " into the motion module is one window; a longer one has windows of 16 frames, 8 for Hotshot-XL.",
        panel=LENGTH,
    ),
]
ContextOverlapOpt = Annotated[
    int | None,
    option(
        "--context-overlap",
        "-O",
        help="Frames that neighbouring windows share. Default: a quarter of a window.",
        panel=LENGTH,
    ),
]
ContextStrideOpt = Annotated[
    int | None,
    option(
        "--context-stride",
        help="For uniform and looped: add windows of every 2nd, 4th … frame; 3 adds both.",
        panel=LENGTH,
    ),
]
ContextScheduleOpt = Annotated[
    ContextSchedule | None,
    option(
        "--context-schedule",
        help="static: the same windows at every step; uniform: shifted at every step; looped: these wrap at the end;"
        " batched: without overlap. Default: static, and looped with --loop.",
        panel=LENGTH,
    ),
]
ContextFuseOpt = Annotated[
    ContextFuse | None,
    option("--context-fuse", help="Weights where windows overlap. Default: pyramid.", panel=LENGTH),
]
ContextModeOpt = Annotated[
    ContextMode | None,
    option(
        "--context-mode",
        help="unet: run the UNet window by window; memory does not grow with length. plug: run it once for all frames,"
        " with windows in the temporal transformers alone; faster. auto: plug if memory allows.",
        panel=LENGTH,
    ),
]
NoiseScheduleOpt = Annotated[
    InitialNoise | None,
    option(
        "--noise-schedule",
        help="random: independent noise in every frame. free-noise: windows share their noise in shuffled order, so"
        " that they agree on the scene.",
        panel=LENGTH,
    ),
]
ContinueFromOpt = Annotated[
    str | None,
    option(
        "--continue-from",
        help="Clip to continue, a file or a folder of frames. --frames are then new frames; the clip gives size and"
        " rate.",
        panel=LENGTH,
        metavar="<clip>",
    ),
]
ContinueFramesOpt = Annotated[
    int | None,
    option(
        "--continue-frames",
        help="Last frames of that clip to keep beside the new ones. Default: half a window.",
        panel=LENGTH,
    ),
]
ContinueNewOnlyOpt = Annotated[
    bool | None,
    option("--continue-new-only", help="Write the new frames without those of the continued clip.", panel=LENGTH),
]
