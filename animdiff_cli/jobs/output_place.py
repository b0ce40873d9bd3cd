"""What `--output` and `--format` ask for. Imports no numpy: a client of a server asks before it has the clip."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.core.formats import RECIPE_FILE, Format, format_of, parse_format
from animdiff_cli.core.naming import DEFAULT_TEMPLATE
from animdiff_cli.errors import UsageError
from animdiff_cli.storage.location import Location, RemotePath, location
from animdiff_cli.storage.outputs import output_location


@dataclass(frozen=True, slots=True)
class OutputPlace:
    """A parsed `--output`: `template` is filled per clip, `folder` is literal."""

    folder: Location
    template: str = DEFAULT_TEMPLATE
    suffix: str = ""  # as typed, also `.GIF`; empty if none was typed

    @property
    def format(self) -> Format | None:
        return format_of(Path(f"clip{self.suffix}")) if self.suffix else None


def parse_output(output: str | None, formats: Sequence[str]) -> tuple[OutputPlace, list[Format]]:
    """Return where clips are written, and in which formats. Raises `UsageError` if the two contradict each other."""
    place = _parse_place(output)
    wanted = [parse_format(name) for name in dict.fromkeys(formats)] or [place.format or "gif"]
    if place.format and place.format not in wanted:
        raise UsageError(
            f"`{output}` asks for {place.format}, `--format` for {', '.join(wanted)}",
            hint=f"leave the suffix out of `--output`, or add `--format {place.format}`",
        )
    return place, wanted


def _parse_place(output: str | None) -> OutputPlace:
    if output is None:
        return OutputPlace(location(paths.output_dir()))
    if output in ("", "-"):
        what = "--output is empty" if not output else "clips are not written to stdout"
        raise UsageError(what, hint="name a file, `folder/` or template: `--output 'night/{slug}_{seed}.gif'`")
    if output.endswith(("/", "\\")) or _is_plain_folder(output_location(output)):
        return OutputPlace(output_location(output.rstrip("\\")))
    fields = output.find("{")  # folders before the first field are literal and may be `..` or absolute
    cut = output.rfind("/", 0, fields if fields >= 0 else None) + 1
    folder, template = output_location(output[:cut]), output[cut:]
    suffix = Path(template).suffix
    if suffix:
        format_of(Path(template))
    return OutputPlace(folder, template.removesuffix(suffix), suffix)


def _is_plain_folder(path: Location) -> bool:
    """True for a folder to write clips into, False for a folder of frames, which is a clip itself."""
    if isinstance(path, RemotePath):
        return path.is_dir() and not (path / RECIPE_FILE).exists()
    # unlike Path.is_dir, os.path.isdir never raises for a name that is too long
    return os.path.isdir(path) and not os.path.isfile(path / RECIPE_FILE)  # noqa: PTH112, PTH113
