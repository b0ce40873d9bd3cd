"""Probe footage for its size, frame times and scene cuts. Videos are decoded once; the result is cached on disk."""

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Event

from animdiff_cli.files.atomic import atomic_write_text
from animdiff_cli.files.untrusted import read_json
from animdiff_cli.paths import cache_dir
from animdiff_cli.training.data import decode, pictures
from animdiff_cli.training.data.media import Media, Timeline

#: increment when the same video would be probed differently: other cuts, other times
VERSION = 2


def probe(media: Media, sha256: str, fps: float | None = None, stop: Event | None = None) -> Timeline:
    """Return the timeline of footage with this hash. `fps` is the frame rate of a folder of frames.

    A damaged or missing cache entry is computed again, and an unwritable cache is ignored. Raises `DecodeError`, also
    soon after another thread sets `stop`, and `OSError`.
    """
    if media.kind != "video":
        return pictures.probe(media, fps)
    entry = cache_dir() / f"videos-{VERSION}" / f"{sha256}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        return _read(entry)
    timeline = decode.probe(media, stop)
    with suppress(OSError):
        atomic_write_text(entry, _to_json(timeline))
    return timeline


def _read(entry: Path) -> Timeline:
    values = read_json(entry)
    times = tuple(float(time) for time in values["times"])
    cuts = tuple(int(cut) for cut in values["cuts"])
    return Timeline(int(values["width"]), int(values["height"]), times, cuts, values["transparent"], values["decoder"])


def _to_json(timeline: Timeline) -> str:
    return json.dumps(asdict(timeline))
