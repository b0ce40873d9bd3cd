"""`animdiff gallery`: write an HTML page of clips."""

from pathlib import Path
from typing import Annotated

import typer

from animdiff_cli.cli.options import OUTPUT, JsonOpt, QuietOpt
from animdiff_cli.cli.out import print_json, print_paths
from animdiff_cli.core.formats import FILE_FORMATS


def gallery(
    clips: Annotated[
        list[Path],
        typer.Argument(
            metavar="<clip>",
            help=f"Folders of clips, with the folders in them, {FILE_FORMATS} files, folders of frames, or manifests"
            " of batches.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", rich_help_panel=OUTPUT, metavar="<file>", help="HTML file to write, or a folder for it."
        ),
    ] = Path("gallery.html"),
    link: Annotated[
        bool,
        typer.Option(
            "--link",
            rich_help_panel=OUTPUT,
            help="Keep the page small: previews are written to a folder beside it, and clips are linked.",
        ),
    ] = False,
    size: Annotated[
        int,
        typer.Option(
            "--size",
            rich_help_panel=OUTPUT,
            metavar="<px>",
            min=64,
            max=1024,
            help="Longest side of a clip on the page, at most. Smaller clips are not enlarged.",
        ),
    ] = 256,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=OUTPUT, help="Replace an existing page.")
    ] = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Write a page to look through clips: they play, with filters, XY plots, comparison and recipes."""
    from animdiff_cli.cli.progress import show_progress
    from animdiff_cli.jobs.gallery import make_gallery, plan_gallery

    plan = plan_gallery(clips, output, link=link, size=size, overwrite=overwrite)
    with show_progress(quiet=quiet) as emit:
        written = make_gallery(plan, emit)
    if json_:
        print_json(written.record())
    else:
        print_paths(written.page)
