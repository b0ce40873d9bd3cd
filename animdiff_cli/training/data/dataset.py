"""A folder of videos as training clips: looked through once, then any clip of it on demand, always the same."""

import hashlib
import os
from collections import Counter
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from threading import Event

from animdiff_cli.config.data_config import DataConfig
from animdiff_cli.core.buckets import bucket_for
from animdiff_cli.core.events import Emit, Note, Prepared, ignore
from animdiff_cli.errors import NotFound
from animdiff_cli.outputs.ffmpeg import DecodeError, Frames
from animdiff_cli.training.data import decode, pictures
from animdiff_cli.training.data.clip_sampling import ClipSample, choose, pace_of
from animdiff_cli.training.data.crop import crop, working_size
from animdiff_cli.training.data.find import find
from animdiff_cli.training.data.media import NO_MOTION, Media, Skip, digest_of
from animdiff_cli.training.data.probe_cache import cached_probe
from animdiff_cli.training.data.timeline import Timeline, why_unusable

#: raised whenever the same footage and settings would give other frames
VERSION = 1
#: settings that decide which frames come out; where the footage lies and what it shows does not
DECIDING = frozenset(DataConfig.model_fields) - {"videos", "video_folder", "caption", "limit"}
#: names told one by one before the rest is counted
NAMED = 10
#: videos handed to the workers at once, so that `limit` does not look through a whole archive
BATCH = 32


@dataclass(frozen=True, slots=True)
class ClipSource:
    """One usable video."""

    name: str  # relative to what was asked for
    caption: str
    bucket: tuple[int, int]  # height and width of its clips in pixels
    key: str  # sha256 over its bytes and every setting that decides its frames
    media: Media
    timeline: Timeline


@dataclass(frozen=True, slots=True)
class Dataset:
    """Every usable video of a place, in a fixed order. Made by `scan`."""

    config: DataConfig
    items: tuple[ClipSource, ...]
    skipped: tuple[Skip, ...]  # (name, reason)

    def __len__(self) -> int:
        return len(self.items)

    def caption(self, index: int) -> str:
        """What video `index` is said to show; empty where nobody says."""
        return self.items[index].caption

    def cutting(self, index: int, draw: int) -> ClipSample:
        """Which frames clip `draw` of video `index` takes, and how the camera moves over them."""
        item = self.items[index]
        return choose(self.config, item.timeline, item.key, draw)

    def frames(self, index: int, draw: int) -> Frames:
        """Decode clip `draw` of video `index`: uint8 `[F, H, W, 3]`, `[H, W]` being its bucket.

        A draw depends on the content of the video, not on its number: adding a video changes no clip of the others.
        Raises `DecodeError` when the file is no longer what `scan` saw.
        """
        item, cutting = self.items[index], self.cutting(index, draw)
        whole = (item.timeline.width, item.timeline.height)
        size = working_size(cutting.windows(self.config, *whole, item.bucket), *whole, item.bucket)
        try:
            footage = _read(item, cutting.frames, size)
        except (DecodeError, OSError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            hint = "it has changed since it was looked at, or is damaged: take it out, then run the same command again"
            raise DecodeError(f"`{item.name}` cannot be read any more: {said}", hint=hint) from error
        # mirrored before the camera moves, so a pan to the right stays one
        footage = footage[:, :, ::-1] if cutting.mirrored else footage
        # windows are laid out anew: the size was rounded, and a turned window must not stick out by a pixel
        return crop(footage, cutting.windows(self.config, *size, item.bucket), item.bucket)


def scan(config: DataConfig, emit: Emit = ignore) -> Dataset:
    """Look through all footage once; say what cannot be used and why, and go on without it.

    Raises `NotFound` where nothing is left, and what `find` raises. Each video is decoded once, then remembered.
    """
    found = find(config)
    items: list[ClipSource] = []
    skipped = list(found.skipped)
    total = min(len(found.media), config.limit or len(found.media))
    # closed at once, also where `emit` raises: what is still being looked through is let go
    with closing(_looked_through(found.media, config)) as outcomes:
        for media, outcome in outcomes:
            if isinstance(outcome, str):
                skipped.append((media.name, outcome))
            else:
                items.append(outcome)
            emit(Prepared("videos", min(len(items) + len(skipped) - len(found.skipped), total), total))
            if len(items) == config.limit:
                break
    if items or len(skipped) > 1:
        _tell_skipped(skipped, emit)
    if not items:
        raise _nothing_left(config, skipped)
    _tell_captions(config, items, emit)
    small = sum(min(item.timeline.width, item.timeline.height) < config.size for item in items)
    if small:
        emit(Note(f"{small} of {len(items)} videos are smaller than {config.size} pixels and are enlarged"))
    return Dataset(config, tuple(items), tuple(skipped))


def _looked_through(media: Sequence[Media], config: DataConfig) -> Generator[tuple[Media, ClipSource | str]]:
    workers, stop = ThreadPoolExecutor(os.cpu_count()), Event()
    try:
        for first in range(0, len(media), BATCH):
            batch = media[first : first + BATCH]
            yield from zip(batch, workers.map(lambda item: _examined(item, config, stop), batch), strict=True)
    finally:  # also on Ctrl-C, and when enough were found
        stop.set()
        workers.shutdown(cancel_futures=True)


def _examined(media: Media, config: DataConfig, stop: Event) -> ClipSource | str:
    """A usable video, or the reason why it is none."""
    try:
        digest = digest_of(media)
        if media.kind == "video":
            timeline = cached_probe(digest, lambda: decode.look(media, stop))
        else:
            timeline = pictures.look(media, config.fps)
        reason = why_unusable(timeline, pace_of(config), avoid_cuts=config.avoid_cuts)
        if reason:
            return reason
    except DecodeError as error:
        return str(error)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    bucket = bucket_for(timeline.width, timeline.height, config.size, square=config.square)
    return ClipSource(media.name, media.caption or config.caption or "", bucket, _key(digest, config), media, timeline)


def _key(digest: str, config: DataConfig) -> str:
    settings = config.model_dump_json(include=set(DECIDING))
    return hashlib.sha256(f"{VERSION} {digest} {settings}".encode()).hexdigest()


def _read(item: ClipSource, frames: Sequence[int], size: tuple[int, int]) -> Frames:
    if item.media.kind == "video":
        return decode.read(item.media, item.timeline, frames, size)
    return pictures.read(item.media, frames, size)


def _tell_skipped(skipped: Sequence[Skip], emit: Emit) -> None:
    for name, reason in skipped[:NAMED]:
        emit(Note(f"skipped {name}: {reason}"))
    if len(skipped) > NAMED:
        rest = Counter(reason for _, reason in skipped[NAMED:])
        reasons = ", ".join(f"{count} because {reason}" for reason, count in rest.most_common(3))
        emit(Note(f"skipped {len(skipped) - NAMED} more: {reasons}"))


def _tell_captions(config: DataConfig, items: Sequence[ClipSource], emit: Emit) -> None:
    bare = sum(not item.media.caption for item in items)
    if bare and not config.caption:
        remedy = "give `--caption`, or `name.txt` beside `name.mp4`"
        emit(Note(f"{bare} of {len(items)} videos have no caption and train with an empty one: {remedy}"))
    if config.caption and not bare:
        emit(Note("every video has a caption of its own, so `--caption` has no effect"))


def _nothing_left(config: DataConfig, skipped: Sequence[Skip]) -> NotFound:
    reasons = [reason for _, reason in skipped]
    if NO_MOTION in reasons:
        hint = "make a move from stills: `--shot zoom-in`"
    elif any(reason.startswith("too short") for reason in reasons):
        hint = "give longer videos, or lower `--stride`"
    else:
        hint = "play one of them to see what it holds"
    name, reason = skipped[0]
    if len(skipped) == 1:
        return NotFound(f"`{config.videos}` has no usable video; {name}: {reason}", hint=hint)
    return NotFound(f"none of the {len(skipped)} videos in `{config.videos}` can be used; {name}: {reason}", hint=hint)
