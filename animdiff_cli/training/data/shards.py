"""WebDataset shards: tar archives in which the files of one sample share a name up to the first dot.

Videos are decoded inside the archive: shards are never unpacked, and every clip is accessible at random.
"""

import re
import tarfile
from collections.abc import Mapping
from itertools import product
from math import prod
from pathlib import Path, PurePosixPath

from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.untrusted import parse_json
from animdiff_cli.training.data.media import (
    MAX_CAPTION_BYTES,
    FoundMedia,
    Kind,
    Media,
    Skip,
    caption_of,
    classify,
    read_caption,
)

MAX_SHARDS = 100_000
_RANGE = re.compile(r"\{(\d{1,18})\.\.(\d{1,18})\}", re.ASCII)


def is_shards(path: Path) -> bool:
    """Return whether a path names archives: `a.tar`, or a pattern such as `a-{0000..0009}.tar`."""
    return path.suffix.lower() == ".tar"


def expand(pattern: str) -> list[str]:
    """Expand each `{first..last}`, keeping leading zeros. Raises `UsageError` for any other brace.

    >>> expand("clips-{08..10}.tar")
    ['clips-08.tar', 'clips-09.tar', 'clips-10.tar']
    """
    pieces = _RANGE.split(pattern)
    if any(brace in piece for piece in pieces[::3] for brace in "{}"):
        raise UsageError(f"`{pattern}` is not a shard pattern", hint="write it as `clips-{0000..0009}.tar`")
    total = prod(max(0, int(last) - int(first) + 1) for first, last in _RANGE.findall(pattern))
    if total > MAX_SHARDS:
        raise UsageError(f"`{pattern}` names {total:,} shards", hint=f"give at most {MAX_SHARDS:,}")
    choices = [
        [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
        for first, last in zip(pieces[1::3], pieces[2::3], strict=True)
    ]
    return ["".join((pieces[0], *_interleave(chosen, pieces[3::3]))) for chosen in product(*choices)]


def find_in_shards(pattern: Path, *, stills: bool) -> FoundMedia:
    """List the footage of every archive, in order. Captions come from the sample's `.txt` or `.json`.

    Raises `NotFound` for a missing archive, `UsageError` for a file that is not an uncompressed tar archive.
    """
    media: list[Media] = []
    skipped: list[Skip] = []
    unreadable: list[str] = []
    for name in expand(str(pattern)):
        archive = Path(name)
        if not archive.is_file():
            raise NotFound(f"shard `{archive}` does not exist", hint=f"`ls {archive.parent}` lists the shards")
        found = _find_in_shard(archive, stills)
        media += found.media
        skipped += found.skipped
        unreadable += found.unreadable
    return FoundMedia(tuple(media), tuple(skipped), tuple(unreadable))


def _find_in_shard(archive: Path, stills: bool) -> FoundMedia:
    captions: dict[str, str] = {}
    footage: list[tuple[str, str, Kind, tuple[int, int]]] = []
    skipped: list[Skip] = []
    unreadable: list[str] = []
    size = archive.stat().st_size
    try:
        # "r:" refuses compressed archives, whose members cannot be read in place
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                key, suffix = _split(member.name)
                shown = f"{archive.name}/{member.name}"
                kind, reason = classify(member.name, archive, member.offset_data, stills=stills)
                is_caption = suffix in (".txt", ".json")
                if not member.isfile() or not (kind or reason or is_caption):
                    continue
                if member.issparse() or member.offset_data + member.size > size:
                    skipped.append((shown, "not stored whole in the archive"))
                elif is_caption and member.size > MAX_CAPTION_BYTES:
                    unreadable.append(shown)
                elif is_caption and (file := tar.extractfile(member)):
                    try:
                        caption = _caption(file.read(), suffix)
                    except ValueError:
                        unreadable.append(shown)
                        continue
                    # a text file wins: a JSON record may contain several texts
                    if caption and (suffix == ".txt" or key not in captions):
                        captions[key] = caption
                elif kind:
                    footage.append((shown, key, kind, (member.offset_data, member.offset_data + member.size)))
                elif reason:
                    skipped.append((shown, reason))
    # tarfile raises the others for damaged headers
    except (tarfile.TarError, EOFError, ValueError, OverflowError, OSError) as error:
        hint = "decompress it first: `gunzip a.tar.gz`"
        raise UsageError(f"`{archive}` is not an uncompressed tar archive, or is truncated", hint=hint) from error
    media = (Media(shown, archive, kind, captions.get(key), span) for shown, key, kind, span in footage)
    return FoundMedia(tuple(media), tuple(skipped), tuple(unreadable))


def _caption(raw: bytes, suffix: str) -> str | None:
    """Return the caption of a text or JSON file. Raises `ValueError` if it is neither."""
    if suffix == ".txt":
        return read_caption(raw)
    record = parse_json(raw)
    return caption_of(record) if isinstance(record, Mapping) else None


def _split(name: str) -> tuple[str, str]:
    """Split as WebDataset does: the key ends at the first dot of the file name; the last suffix is the kind."""
    path = PurePosixPath(name)
    return str(path.with_name(path.name.split(".", 1)[0] or path.name)), path.suffix.lower()


def _interleave(chosen: tuple[str, ...], between: list[str]) -> list[str]:
    return [piece for pair in zip(chosen, between, strict=True) for piece in pair]
