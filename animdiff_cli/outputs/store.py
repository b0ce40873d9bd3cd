"""Write a clip to where the user wants it: a local path, or a storage system."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from animdiff_cli.core.formats import RECIPE_FILE, Format
from animdiff_cli.core.timing import check_fps
from animdiff_cli.files.os_errors import temporary_failures, temporary_folder
from animdiff_cli.outputs.audio import AudioTrack
from animdiff_cli.outputs.spool import FrameSequence
from animdiff_cli.outputs.write import free_path, require_replaceable, write_clip, write_output
from animdiff_cli.storage.location import Location, RemotePath
from animdiff_cli.storage.outputs import kept_if_not_uploaded, upload_output


def store_clip(
    frames: FrameSequence,
    fps: float,
    place: Location,
    format: Format,
    recipe: Mapping[str, Any],
    *,
    overwrite: bool = False,
    audio: AudioTrack | None = None,
) -> Location:
    """Write a clip like `write_clip`; for a storage system, write it to a temporary file and upload that.

    Raises as `write_clip`, and `NotFound` or `NetworkError` if the upload fails: then the clip is kept on this machine.
    """
    if not isinstance(place, RemotePath):
        return write_clip(frames, fps, place, format, recipe, overwrite=overwrite, audio=audio)
    check_fps(fps, format)
    return _store_remote(
        place, format, lambda path: write_clip(frames, fps, path, format, recipe, audio=audio), overwrite
    )


def store_output(
    place: Location, format: Format, write: Callable[[Path], None], *, overwrite: bool = False
) -> Location:
    """Let `write` create an output, like `write_output`. Storage systems as in `store_clip`."""
    if not isinstance(place, RemotePath):
        return write_output(place, format, write, overwrite=overwrite)
    return _store_remote(place, format, lambda path: write_output(path, format, write), overwrite)


def _store_remote(place: RemotePath, format: Format, write: Callable[[Path], Path], overwrite: bool) -> RemotePath:
    if overwrite:
        require_replaceable(place, format)
    with temporary_folder({}) as folder, temporary_failures():
        local = write(folder / place.name)
        with kept_if_not_uploaded(local):
            return _upload(local, place, overwrite)


def _upload(local: Path, place: RemotePath, overwrite: bool) -> RemotePath:
    while True:
        target = free_path(place, overwrite)
        try:
            upload_output(local, target, replace=overwrite, last=RECIPE_FILE)
        except FileExistsError:  # another program has taken the name
            continue
        return target
