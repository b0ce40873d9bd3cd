"""What `videos` means: a folder, one file, a list, or shards."""

from pathlib import Path

from animdiff_cli.config.data_config import DataConfig
from animdiff_cli.core.suggest import closest
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.training.data.folder import caption_beside, look_in
from animdiff_cli.training.data.media import PICTURE_SUFFIXES, VIDEO_SUFFIXES, Found, Media, kind_of
from animdiff_cli.training.data.shards import is_shards, look_in_shards
from animdiff_cli.training.data.tables import TABLE_SUFFIXES, look_in_table


def find(config: DataConfig) -> Found:
    """List the footage that a data set is made of, without opening any of it.

    Raises `NotFound` for a place that is not there or holds no footage, `UsageError` for one of the wrong kind.
    """
    place = config.videos.expanduser()
    is_table = place.suffix.lower() in TABLE_SUFFIXES and place.is_file()
    if config.video_folder is not None and not is_table:
        raise UsageError(
            f"`{place}` is no list, so there is nothing to look up in a folder",
            hint="leave out `data.video_folder`, or give a CSV or JSONL file with `--videos`",
        )
    found = _look(place, config, is_table)
    if not found.media and not found.skipped:
        raise NotFound(f"`{place}` holds no videos", hint=f"looked for {', '.join(sorted(VIDEO_SUFFIXES))}")
    return found


def _look(place: Path, config: DataConfig, is_table: bool) -> Found:
    stills = config.shot is not None or config.num_frames == 1
    if is_shards(place):
        return look_in_shards(place, stills=stills)
    if not place.exists():
        raise _missing(place)
    if is_table:
        return look_in_table(place, config.video_folder and config.video_folder.expanduser(), stills=stills)
    if place.is_dir():
        return look_in(place, stills=stills)
    kind = kind_of(place)
    if kind is None:
        known = ", ".join(sorted(VIDEO_SUFFIXES | PICTURE_SUFFIXES | TABLE_SUFFIXES | {".tar"}))
        raise UsageError(f"`{place}` is not footage", hint=f"`--videos` takes a folder, or a file that ends in {known}")
    if kind == "still" and not stills:
        raise UsageError(f"`{place}` is a still: it has no motion of its own", hint="add a move: `--shot zoom-in`")
    return Found((Media(place.name, place, kind, caption_beside(place)),))


def _missing(place: Path) -> NotFound:
    beside = [entry.name for entry in place.parent.iterdir()] if place.parent.is_dir() else []
    near = closest(place.name, beside)
    hint = f"did you mean `{place.parent / near}`?" if near else "`--videos` takes a folder of videos"
    return NotFound(f"there is no `{place}`", hint=hint)
