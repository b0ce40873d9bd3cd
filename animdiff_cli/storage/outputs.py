"""Write outputs that may be on a storage system: to a temporary file first, then uploaded whole."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.errors import AnimdiffError, NotFound, UsageError
from animdiff_cli.files.os_errors import temporary_failures
from animdiff_cli.storage.location import Location, RemotePath, is_url, location
from animdiff_cli.storage.objects import OBJECT_STORES, find, list_files, remove, upload


def output_location(name: str) -> Location:
    """Return where an output is written, from what was typed.

    Raises `UsageError` for an unknown user, an unknown kind of URL, and a web server, which takes no files.
    """
    if not is_url(name):
        location(name)
        return paths.expanded_output(name)
    place = location(name)
    if isinstance(place, RemotePath) and place.scheme in ("http", "https"):
        raise UsageError(f"`{place}`: files cannot be written to a web server", hint="use `s3:`, `gs:` or `sftp:`")
    return place


@cache
def require_bucket(root: RemotePath) -> None:
    """Check that a storage system answers, and that the bucket exists. Raises `AnimdiffError`.

    Whether it lets us write shows only when it is written to.
    """
    if find(root) is None:
        raise NotFound(f"no bucket `{root}`", hint="create it first, or check the URL")


def check_remote_output(path: RemotePath) -> None:
    """Check, before anything is rendered, what can be checked without writing. Asks once per bucket or host."""
    if path.scheme in OBJECT_STORES:
        require_bucket(RemotePath(*path.parts[:2]))


@contextmanager
def kept_if_not_uploaded(path: Path) -> Iterator[None]:
    """Move a clip out of its temporary folder if the block raises an `AnimdiffError`, and name it in the message."""
    try:
        yield
    except AnimdiffError as error:
        with temporary_failures():
            kept = Path(tempfile.mkdtemp(prefix=paths.TEMPORARY)) / path.name
            path.replace(kept)
        raise type(error)(f"{error}; the clip is kept as `{kept}`", hint=error.hint) from error


def upload_output(source: Path, target: RemotePath, *, replace: bool, last: str = "") -> None:
    """Upload a file, or a folder file by file. The file `last` of a folder is uploaded last: it marks it as complete.

    Raises `FileExistsError` if `target` exists and `replace` is False, `AnimdiffError` if the upload fails.
    """
    if not source.is_dir():
        upload(source, target, replace=replace)
        return
    before = list_files(target)
    if before and not replace:
        raise FileExistsError(str(target))
    names = sorted((path.name for path in source.iterdir()), key=lambda name: (name == last, name))
    if last in before:
        remove(target / last)
    for name in before.keys() - {*names, last}:
        remove(target / name)
    for name in names:
        upload(source / name, target / name, replace=True)
