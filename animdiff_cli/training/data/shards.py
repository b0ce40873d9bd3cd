"""WebDataset shards: tar archives in which the files of one sample share a name up to the first dot.

Videos are decoded inside the archive: shards are never unpacked, and every clip is accessible at random.
"""

import re
import tarfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path, PurePosixPath

from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.untrusted import parse_json
from animdiff_cli.training.data.media import NO_MOTION, FoundMedia, Media, Skip, caption_of, kind_of, one_line

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


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
    for name in expand(str(pattern)):
        archive = Path(name)
        if not archive.is_file():
            raise NotFound(f"shard `{archive}` does not exist", hint=f"`ls {archive.parent}` lists the shards")
        found = _find_in_shard(archive, stills)
        media += found.media
        skipped += found.skipped
    return FoundMedia(tuple(media), tuple(skipped))


def _find_in_shard(archive: Path, stills: bool) -> FoundMedia:
    captions: dict[str, str] = {}
    footage: list[tuple[str, str, tuple[int, int]]] = []
    try:
        # "r:" refuses compressed archives, whose members cannot be read in place
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                key, suffix = _split(member.name)
                if member.isfile() and suffix in (".txt", ".json") and (file := tar.extractfile(member)):
                    caption = _caption(file.read(), suffix)
                    # a text file wins: a JSON record may contain several texts
                    if caption and (suffix == ".txt" or key not in captions):
                        captions[key] = caption
                elif member.isfile() and kind_of(member.name):
                    footage.append((member.name, key, (member.offset_data, member.offset_data + member.size)))
    except (tarfile.TarError, EOFError) as error:
        hint = "decompress it first: `gunzip a.tar.gz`"
        raise UsageError(f"`{archive}` is not an uncompressed tar archive, or is truncated", hint=hint) from error
    media: list[Media] = []
    skipped: list[Skip] = []
    for name, key, span in footage:
        kind, shown = kind_of(name), f"{archive.name}/{name}"
        if kind == "still" and not stills:
            skipped.append((shown, NO_MOTION))
        elif kind:
            media.append(Media(shown, archive, kind, captions.get(key), span))
    return FoundMedia(tuple(media), tuple(skipped))


def _caption(raw: bytes, suffix: str) -> str | None:
    text = raw.decode(errors="replace")
    if suffix == ".txt":
        return one_line(text) or None
    try:
        record = parse_json(text)
    except ValueError:
        return None
    return caption_of(record) if isinstance(record, Mapping) else None


def _split(name: str) -> tuple[str, str]:
    """Split as WebDataset does: the key ends at the first dot of the file name; the last suffix is the kind."""
    path = PurePosixPath(name)
    return str(path.with_name(path.name.split(".", 1)[0] or path.name)), path.suffix.lower()


def _interleave(chosen: tuple[str, ...], between: list[str]) -> list[str]:
    return [piece for pair in zip(chosen, between, strict=True) for piece in pair]
