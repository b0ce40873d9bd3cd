"""What was seen of a video, kept, so that the next run begins at once: looking through footage is the slow part."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from animdiff_cli.files.atomic import atomic_write_text
from animdiff_cli.files.untrusted import read_json
from animdiff_cli.paths import cache_dir
from animdiff_cli.training.data.timeline import Timeline

#: raised whenever the same video would be seen differently: other cuts, other times
VERSION = 1


def cached_probe(digest: str, look: Callable[[], Timeline]) -> Timeline:
    """Return what was seen of the video with this sha256, or look now and keep it.

    A damaged or missing note is made anew; a cache that cannot be written costs time, nothing else.
    """
    note = cache_dir() / f"videos-{VERSION}" / f"{digest}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        return _read(note)
    timeline = look()
    with suppress(OSError):
        atomic_write_text(note, _text(timeline))
    return timeline


def _read(note: Path) -> Timeline:
    seen = read_json(note)
    times = tuple(float(time) for time in seen["times"])
    return Timeline(int(seen["width"]), int(seen["height"]), times, tuple(int(cut) for cut in seen["cuts"]))


def _text(timeline: Timeline) -> str:
    seen = {"width": timeline.width, "height": timeline.height, "times": timeline.times, "cuts": timeline.cuts}
    return json.dumps(seen)
