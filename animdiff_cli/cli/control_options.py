"""Options of `animdiff generate` for control: networks that follow pictures and videos."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from animdiff_cli.cli import complete
from animdiff_cli.cli.options import CONTROL, option
from animdiff_cli.core.choices import Preprocessor
from animdiff_cli.errors import UsageError

if TYPE_CHECKING:
    from animdiff_cli.jobs.render_plan import RenderPlan

ControlOpt = Annotated[
    list[str] | None,
    option(
        "--control",
        help="ControlNet or SparseCtrl and the video, picture or folder that it follows, for example"
        " controlnet-canny=dance.mp4@0.8. Repeatable.",
        panel=CONTROL,
        autocompletion=complete.models("controlnet"),
        metavar="<ref=source[@scale]>",
    ),
]
PreprocessOpt = Annotated[
    Preprocessor | None,
    option(
        "--preprocess",
        help="What makes control pictures of frames. Default: auto, what the network was trained with; a source that is"
        " a control picture already is left as it is.",
        panel=CONTROL,
    ),
]
PreprocessWeightsOpt = Annotated[
    list[str] | None,
    option(
        "--preprocess-weights",
        help="Weights of a network that makes control pictures, for example dpt-hybrid. Repeatable. Default: the usual"
        " ones of --preprocess.",
        panel=CONTROL,
        autocompletion=complete.models("preprocessor"),
        metavar="<ref>",
    ),
]
ImagePromptOpt = Annotated[
    list[str] | None,
    option(
        "--image-prompt",
        help="IP-Adapter and the picture that it reads as a prompt, for example ip-adapter=fox.png@0.6. Repeatable; the"
        " scale may be a curve.",
        panel=CONTROL,
        autocompletion=complete.models("ip-adapter"),
        metavar="<ref=picture[@scale]>",
    ),
]
ImageEncoderOpt = Annotated[
    str | None,
    option(
        "--image-encoder",
        help="Image encoder of the image prompts. Default: that of the alias, or the folder image_encoder/ beside the"
        " IP-Adapter.",
        panel=CONTROL,
        autocompletion=complete.models("image-encoder"),
        metavar="<ref>",
    ),
]
SaveControlOpt = Annotated[
    Path | None,
    option("--save-control", help="Folder to write what control networks see.", panel=CONTROL, metavar="<folder>"),
]


def checked_folder(folder: Path, plan: "RenderPlan") -> Path:
    """Return the folder of `--save-control`. Raises `UsageError` if it has files already or nothing will be written."""
    from animdiff_cli.paths import expanded_output

    folder = expanded_output(folder)
    if not plan.configs[0].controls:
        raise UsageError("`--save-control` has no effect without a control", hint="add `--control REF=SOURCE`")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"`{folder}` exists and is not an empty folder", hint="name a new folder")
    return folder
