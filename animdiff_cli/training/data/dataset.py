"""A data set of training clips: scanned once, then any clip on demand, the same on every machine."""

import hashlib
import os
from collections import Counter
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Protocol

from animdiff_cli.config.data_config import DataConfig
from animdiff_cli.core.events import Emit, Note, Prepared, ignore
from animdiff_cli.core.sizes import bucket_for
from animdiff_cli.core.text import counted
from animdiff_cli.errors import NotFound
from animdiff_cli.outputs.ffmpeg import DecodeError, Frames
from animdiff_cli.training.data import decode, pictures
from animdiff_cli.training.data.clip_sampling import ClipSample, FrameSpacing, sample_clip, why_unusable
from animdiff_cli.training.data.crop import crop, decoding_size
from animdiff_cli.training.data.find import find
from animdiff_cli.training.data.media import NO_MOTION, Media, Skip, Timeline, sha256_of_media
from animdiff_cli.training.data.probe import probe

#: increment when the same footage and settings would give other frames
VERSION = 2
#: settings that decide the frames of a clip: all except paths, captions and the number of videos
FRAME_SETTINGS = frozenset(DataConfig.model_fields) - {"videos", "video_folder", "caption", "limit"}
#: number of skipped files that are reported by name; the rest is counted
MAX_REPORTED = 10
#: videos per batch of the worker threads, so that `limit` does not probe a whole archive
BATCH = 32


class Clip(Protocol):
    """One item of a data set, not decoded yet."""

    @property
    def name(self) -> str: ...
    @property
    def caption(self) -> str: ...
    @property
    def bucket(self) -> tuple[int, int]:
        """Height and width in pixels."""
        ...

    @property
    def key(self) -> str:
        """Digest of the file's content and of every setting that decides its frames."""
        ...


class ClipDataset(Protocol):
    """The part of a data set that training needs. `Dataset` implements it."""

    @property
    def items(self) -> Sequence[Clip]: ...
    def frames(self, index: int, variant: int) -> Frames:
        """Decode variant `variant` of item `index`: uint8 `[F, H, W, 3]`. Equal on every machine."""
        ...


@dataclass(frozen=True, slots=True)
class ClipSource:
    """One usable video."""

    name: str  # relative to the path the user gave
    caption: str
    bucket: tuple[int, int]  # height and width of its clips in pixels
    key: str  # sha256 of its bytes and of every setting that decides its frames
    media: Media
    timeline: Timeline


@dataclass(frozen=True, slots=True)
class Dataset:
    """Every usable video of a folder, list or archive, in a fixed order. Created by `scan`."""

    config: DataConfig
    items: tuple[ClipSource, ...]
    skipped: tuple[Skip, ...]  # (name, reason)

    def __len__(self) -> int:
        return len(self.items)

    def caption(self, index: int) -> str:
        """Return the caption of video `index`; empty if it has none."""
        return self.items[index].caption

    def clip_sample(self, index: int, variant: int) -> ClipSample:
        """Return the frame numbers and camera move of variant `variant` of video `index`."""
        item = self.items[index]
        return sample_clip(self.config, item.timeline, item.key, variant)

    def frames(self, index: int, variant: int) -> Frames:
        """Decode variant `variant` of video `index`: uint8 `[F, H, W, 3]`, where `[H, W]` is its bucket.

        A clip depends on the content of the video, not on its index: adding a video changes no clip of the others.
        Raises `DecodeError` if the file has changed since `scan`.
        """
        item, sample = self.items[index], self.clip_sample(index, variant)
        full = (item.timeline.width, item.timeline.height)
        size = decoding_size(sample.windows(self.config, *full, item.bucket), *full, item.bucket)
        try:
            footage = _read_frames(item, sample.frames, size)
        except (DecodeError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            hint = "the file has changed or is damaged: remove it, then run the same command again"
            raise DecodeError(f"cannot read `{item.name}` any more: {reason}", hint=hint) from error
        # mirrored before the camera moves, so that a pan to the right stays one
        footage = footage[:, :, ::-1] if sample.mirrored else footage
        # windows are computed again: `size` was rounded, and a rotated window must not exceed the frame
        return crop(footage, sample.windows(self.config, *size, item.bucket), item.bucket)


def scan(config: DataConfig, emit: Emit = ignore) -> Dataset:
    """Probe all footage; report files that cannot be used and leave them out.

    Raises `NotFound` if no usable video is left, and whatever `find` raises. Each video is decoded once; the result is
    cached.
    """
    found = find(config)
    items: list[ClipSource] = []
    skipped = list(found.skipped)
    total = min(len(found.media), config.limit or len(found.media))
    # `closing` stops the workers at once, also if `emit` raises
    with closing(_probe_all(found.media, config)) as outcomes:
        for media, outcome in outcomes:
            if isinstance(outcome, str):
                skipped.append((media.name, outcome))
            else:
                items.append(outcome)
            emit(Prepared("videos", min(len(items) + len(skipped) - len(found.skipped), total), total))
            if len(items) == config.limit:
                break
    if items or len(skipped) > 1:
        _report_skipped(skipped, emit)
    if not items:
        raise _nothing_usable(config, skipped)
    _report_suffixes(items, emit)
    _report_captions(config, items, found.unreadable, emit)
    transparent = sum(item.timeline.transparent for item in items)
    if transparent:
        emit(Note(f"transparent parts become white, in {transparent} of {counted(len(items), 'video')}"))
    small = sum(min(item.timeline.width, item.timeline.height) < config.size for item in items)
    if small:
        emit(Note(f"videos smaller than {config.size} pixels are enlarged: {small} of {len(items)}"))
    return Dataset(config, tuple(items), tuple(skipped))


def _probe_all(media: Sequence[Media], config: DataConfig) -> Generator[tuple[Media, ClipSource | str]]:
    workers, stop = ThreadPoolExecutor(os.cpu_count()), Event()
    try:
        for first in range(0, len(media), BATCH):
            batch = media[first : first + BATCH]
            yield from zip(batch, workers.map(lambda item: _probe(item, config, stop), batch), strict=True)
    finally:  # also on Ctrl-C, and when `limit` is reached
        stop.set()
        workers.shutdown(cancel_futures=True)


def _probe(media: Media, config: DataConfig, stop: Event) -> ClipSource | str:
    """Return a usable video, or the reason why it is not usable."""
    try:
        sha256 = sha256_of_media(media)
        timeline = probe(media, sha256, config.fps, stop)
        if len(timeline.times) == 1 and config.num_frames > 1 and config.shot is None:
            return NO_MOTION  # a video of one frame
        reason = why_unusable(timeline, FrameSpacing.of(config), avoid_cuts=config.avoid_cuts)
        if reason:
            return reason
    except DecodeError as error:
        return str(error)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    bucket = bucket_for(timeline.width, timeline.height, config.size, square=config.square)
    return ClipSource(media.name, media.caption or config.caption or "", bucket, _key(sha256, config), media, timeline)


def _key(sha256: str, config: DataConfig) -> str:
    settings = config.model_dump_json(include=set(FRAME_SETTINGS))
    return hashlib.sha256(f"{VERSION} {sha256} {settings}".encode()).hexdigest()


def _read_frames(item: ClipSource, frames: Sequence[int], size: tuple[int, int]) -> Frames:
    if item.media.kind == "video":
        return decode.read_frames(item.media, item.timeline, frames, size)
    return pictures.read_frames(item.media, frames, size)


def _report_skipped(skipped: Sequence[Skip], emit: Emit) -> None:
    for name, reason in skipped[:MAX_REPORTED]:
        emit(Note(f"skipped {name}: {reason}"))
    if len(skipped) > MAX_REPORTED:
        rest = Counter(reason for _, reason in skipped[MAX_REPORTED:])
        reasons = ", ".join(f"{count} because {reason}" for reason, count in rest.most_common(3))
        emit(Note(f"skipped {len(skipped) - MAX_REPORTED} more: {reasons}"))


def _report_suffixes(items: Sequence[ClipSource], emit: Emit) -> None:
    """Report what kinds of files are used, if there are several."""
    counts = Counter(Path(item.name).suffix.lower() or "folders of frames" for item in items)
    if len(counts) > 1:
        emit(Note(f"using {', '.join(f'{count} {suffix}' for suffix, count in counts.most_common())}"))


def _report_captions(config: DataConfig, items: Sequence[ClipSource], unreadable: Sequence[str], emit: Emit) -> None:
    if unreadable:
        count = f"{len(unreadable)} caption files are" if len(unreadable) > 1 else "one caption file is"
        emit(Note(f"{count} not UTF-8 and not used, such as {unreadable[0]}: save as UTF-8 text"))
    uncaptioned = sum(not item.media.caption for item in items)
    if uncaptioned and not config.caption:
        remedy = "add `--caption`, or `name.txt` beside `name.mp4`"
        emit(Note(f"videos without a caption train with an empty one, {uncaptioned} of {len(items)}: {remedy}"))
    if config.caption and not uncaptioned:
        emit(Note("every video has its own caption, so `--caption` has no effect"))


def _nothing_usable(config: DataConfig, skipped: Sequence[Skip]) -> NotFound:
    reasons = [reason for _, reason in skipped]
    if NO_MOTION in reasons:
        hint = "add a camera move to still images: `--shot zoom-in`"
    elif any(reason.startswith("too short") for reason in reasons):
        hint = "use longer videos, or lower `--stride`"
    else:
        hint = "check with a player whether the videos can be played"
    name, reason = skipped[0]
    if len(skipped) == 1:
        return NotFound(f"no usable video in `{config.videos}`; {name}: {reason}", hint=hint)
    return NotFound(f"none of the {len(skipped)} videos in `{config.videos}` is usable; {name}: {reason}", hint=hint)
