"""Check the positions of a clip's settings: keys of curves and tracks, frames of pictures and videos."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from animdiff_cli.config.input_settings import INPUT_SETTINGS, entries_of
from animdiff_cli.config.settings import settings_of
from animdiff_cli.core.curves import Track
from animdiff_cli.core.where import Timeline, frames_at
from animdiff_cli.errors import UsageError


def check_positions(config: BaseModel, timeline: Timeline) -> None:
    """Raise `UsageError` for keys outside of the clip, out of order, or twice."""
    for key, track in _tracks(config):
        try:
            track.check(timeline)
        except UsageError as error:
            raise UsageError(f"`{key}`: {error}", hint=error.hint) from error
    for key, setting in INPUT_SETTINGS.items():
        for entry in entries_of(setting, getattr(config, key)):
            try:
                frames_at(entry.frames or "0", timeline.num_frames, timeline.fps)
            except UsageError as error:
                raise UsageError(f"`{entry.frames}` of `{entry.source}`: {error}", hint=error.hint) from error


def _tracks(config: BaseModel) -> Iterator[tuple[str, Track[Any]]]:
    """Yield every track with its key, or the text of its entry: scales of weights are tracks too."""
    for key, value in config:
        if isinstance(value, Track):
            yield key, value
        elif value and (record := settings_of(type(config))[key].record):
            for entry in value if isinstance(value, tuple) else [value]:
                name = entry if isinstance(entry, str) else key
                yield from ((name, part) for _, part in record.read(entry) if isinstance(part, Track))
