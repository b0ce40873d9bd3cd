"""WebDataset shards: tar archives in which files of one sample share a name up to the first dot.

A video is decoded where it lies inside its archive, so a shard is never unpacked and any clip of it is at hand at once.
"""

import re
import tarfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path, PurePosixPath

from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.untrusted import parse_json
from animdiff_cli.training.data.media import NO_MOTION, Found, Media, Skip, captioned, kind_of, one_line

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def is_shards(path: Path) -> bool:
    """Tell whether a path means archives: `a.tar`, or a pattern as `a-{0000..0009}.tar`."""
    return path.suffix.lower() == ".tar"


def expand(pattern: str) -> list[str]:
    """Write out each `{first..last}`, keeping leading zeros. Raises `UsageError` for any other brace.

    >>> expand("clips-{08..10}.tar")
    ['clips-08.tar', 'clips-09.tar', 'clips-10.tar']
    """
    pieces = _RANGE.split(pattern)
    if any(mark in piece for piece in pieces[::3] for mark in "{}"):
        raise UsageError(f"`{pattern}` is no shard pattern", hint="write it as `clips-{0000..0009}.tar`")
    choices = [
        [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
        for first, last in zip(pieces[1::3], pieces[2::3], strict=True)
    ]
    return ["".join((pieces[0], *_woven(chosen, pieces[3::3]))) for chosen in product(*choices)]


def look_in_shards(pattern: Path, *, stills: bool) -> Found:
    """List the footage of every archive, in order. Captions are the sample's `.txt`, or its `.json`.

    Raises `NotFound` for a missing archive, `UsageError` for a file that is no plain tar archive.
    """
    media: list[Media] = []
    skipped: list[Skip] = []
    for name in expand(str(pattern)):
        archive = Path(name)
        if not archive.is_file():
            raise NotFound(f"there is no shard `{archive}`", hint=f"`ls {archive.parent}` shows what is there")
        found = _look_in_shard(archive, stills)
        media += found.media
        skipped += found.skipped
    return Found(tuple(media), tuple(skipped))


def _look_in_shard(archive: Path, stills: bool) -> Found:
    captions: dict[str, str] = {}
    footage: list[tuple[str, str, tuple[int, int]]] = []
    try:
        # "r:" refuses compressed archives, whose members cannot be read where they lie
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                key, suffix = _split(member.name)
                if member.isfile() and suffix in (".txt", ".json") and (file := tar.extractfile(member)):
                    caption = _caption(file.read(), suffix)
                    # a text file says it plainly, a record may hold more than one text
                    if caption and (suffix == ".txt" or key not in captions):
                        captions[key] = caption
                elif member.isfile() and kind_of(member.name):
                    footage.append((member.name, key, (member.offset_data, member.offset_data + member.size)))
    except (tarfile.TarError, EOFError) as error:
        hint = "unpack compressed ones first: `gunzip a.tar.gz`"
        raise UsageError(f"`{archive}` is not a plain tar archive, or is cut off", hint=hint) from error
    media: list[Media] = []
    skipped: list[Skip] = []
    for name, key, span in footage:
        kind, shown = kind_of(name), f"{archive.name}/{name}"
        if kind == "still" and not stills:
            skipped.append((shown, NO_MOTION))
        elif kind:
            media.append(Media(shown, archive, kind, captions.get(key), span))
    return Found(tuple(media), tuple(skipped))


def _caption(raw: bytes, suffix: str) -> str | None:
    text = raw.decode(errors="replace")
    if suffix == ".txt":
        return one_line(text) or None
    try:
        record = parse_json(text)
    except ValueError:
        return None
    return captioned(record) if isinstance(record, Mapping) else None


def _split(name: str) -> tuple[str, str]:
    """Split as WebDataset does: the key ends at the first dot of the file name, the last suffix tells the kind."""
    path = PurePosixPath(name)
    return str(path.with_name(path.name.split(".", 1)[0] or path.name)), path.suffix.lower()


def _woven(chosen: tuple[str, ...], between: list[str]) -> list[str]:
    return [piece for pair in zip(chosen, between, strict=True) for piece in pair]
