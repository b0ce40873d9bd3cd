"""`--video`: render the frames of a video anew."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import floor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from animdiff_cli.config.input_settings import MaskEntry, VideoEntry
from animdiff_cli.config.layers import Layer, Resolved
from animdiff_cli.config.load import flag_name
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.values import check_value
from animdiff_cli.core.curves import Curve
from animdiff_cli.diffusion.build import takes_mask as model_takes_mask
from animdiff_cli.diffusion.conditions import SourceFrames
from animdiff_cli.diffusion.encode import Encode
from animdiff_cli.diffusion.pictures import ClipPictures
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.masks import as_mask, chunks, mask_latents, shown
from animdiff_cli.jobs.media import OpenInput, open_input, read_for_clip, seconds_of, section_of, timeline_of
from animdiff_cli.outputs.audio import AudioTrack

FLAG = "--video"
MAX_FRAMES = 4096
#: settings that change how a video is rendered anew
OF_VIDEO = ("denoise", "invert", "audio", "mask")


def with_shape_of_video(layers: Sequence[Layer]) -> list[Layer]:
    """Add size, frame rate and length of the video that the layers name, below them all.

    If the layers have one side, the other follows from the shape of the video. Raises `NotFound`, `UsageError`.
    """
    entry = _entry(layers)
    if entry is None:
        return list(layers)
    opened = open_input(entry.source, FLAG)
    values: dict[str, object] = dict(_size(opened, _given(layers)))
    fps = entry.fps or min(opened.timeline.rate, 120.0) if opened.has_rate else None
    if fps:
        values["fps"] = fps
    if len(section_of(opened, entry)) > 1:
        length = seconds_of(opened, entry) * _sampled_rate(layers, entry, fps) if fps else None
        values["num_frames"] = _num_frames(opened, max(1, round(length)) if length else len(section_of(opened, entry)))
    return [Layer(str(opened.path), values), *layers]


def check_video_flags(resolved: Resolved[GenerateConfig]) -> None:
    """Raise `UsageError` for `--denoise` and its like without a video. Presets may have them for later use."""
    for key in OF_VIDEO:
        flag = resolved.origins[key]
        blends = resolved.values["images"] and resolved.values["image_method"] in ("auto", "blend")
        is_used = resolved.values["video"] or (key == "denoise" and blends)
        if not is_used and flag == flag_name(key):
            typed = flag.replace("--", "--no-", 1) if resolved.values[key] is False else flag
            raise UsageError(f"`{typed}` has no effect without a video", hint=f"add `{FLAG} FILE`")


def check_video(config: GenerateConfig) -> None:
    """Raise `UsageError` for settings that cannot be combined with a video."""
    if not config.video and not config.images:
        return
    flag, denoise = FLAG if config.video else "--image", config.denoise
    begins_late = config.video or config.blends_images
    if isinstance(denoise, Curve) and denoise.axis == "steps":
        raise UsageError("`denoise` varies over frames, not over steps", hint="write frames, as in `0:0.3,-1:0.8`")
    for key, clash in (("continue_from", "--continue-from"), ("free_init", "--free-init")):
        if getattr(config, key) and (begins_late or key == "continue_from"):
            raise UsageError(
                f"`{flag}` and `{clash}` cannot be combined: both decide what the clip begins from",
                hint="leave one of them out",
            )
    if config.scheduler == "pndm" and (denoise != 1 or config.images) and begins_late:
        raise UsageError(
            "the scheduler pndm cannot begin between its steps, as `--denoise` below 1 needs",
            hint="use another scheduler: `--scheduler ddim`",
        )
    if config.video and VideoEntry.read(config.video).frames:
        raise UsageError("a video is for all frames of the clip", hint="leave out `video.frames`")


def check_mask(config: GenerateConfig, model: Path) -> None:
    """Raise `UsageError` for a mask without a video, or an inpainting model without a mask."""
    if config.mask and not config.video:
        raise UsageError("`--mask` says where a video is repainted, and there is none", hint=f"add `{FLAG} FILE`")
    if config.mask and MaskEntry.read(config.mask).frames:
        raise UsageError("a mask is for all frames of the clip", hint="leave out `mask.frames`")
    if not config.mask and model_takes_mask(model):
        raise UsageError(
            f"`{model.name}` is an inpainting model: it repaints what a mask shows, and there is none",
            hint=f"add `{FLAG} FILE --mask FILE`, or use the text-to-image model it was made from",
        )


@dataclass(frozen=True, slots=True)
class Source:
    """The video that a clip is rendered from, read and encoded."""

    condition: SourceFrames
    pictures: ClipPictures
    mask: ClipPictures | None = None

    def finished(self, chunks: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        """Put the pixels of the video into decoded frames where the mask is black."""
        if self.mask is None:
            yield from chunks
            return
        first = 0
        for chunk in chunks:
            frames = range(first, first := first + len(chunk))
            kept, repaint = shown(self.pictures, frames), shown(self.mask, frames).astype(np.float32) / 255
            yield np.rint(kept * (1 - repaint) + chunk * repaint).astype(np.uint8)


def read_video(config: GenerateConfig, encode: Encode, *, takes_mask: bool = False) -> Source | None:
    """Read and encode the video that `config` renders anew, a chunk at a time; None if there is none.

    `takes_mask`: the UNet has channels for a mask.
    """
    if not config.video:
        return None
    entry, size = VideoEntry.read(config.video), (config.width, config.height)
    timeline = timeline_of(entry, config.timeline)
    pictures = read_for_clip(open_input(entry.source, FLAG), entry, timeline, size)
    condition = SourceFrames(encoded(encode, pictures), config.denoise, config.steps, config.invert)
    if not config.mask:
        return Source(condition, pictures)
    mask_entry = MaskEntry.read(config.mask)
    opened = open_input(mask_entry.source, "--mask")
    mask = read_for_clip(opened, mask_entry, config.timeline, size, partial(as_mask, feather=mask_entry.feather))
    parts = [mask_latents(shown(mask, frames)) for frames in chunks(config.num_frames)]
    repaint = torch.cat(parts, dim=2)
    channels = None
    if takes_mask:
        kept = [encode(_kept_pixels(pictures, mask, frames)) for frames in chunks(config.num_frames)]
        channels = torch.cat([repaint, torch.cat(kept, dim=2)], dim=1)
    return Source(replace(condition, repaint=repaint, channels=channels), pictures, mask)


def encoded(encode: Encode, pictures: ClipPictures) -> torch.Tensor:
    """Encode pictures for every frame of a clip, each picture once: float32 [1, 4, F, h, w] on the CPU."""
    latents = torch.cat([encode(pictures.chunk(part)) for part in chunks(len(pictures.pictures))], dim=2)
    numbers = [number for number in pictures.of_frame if number is not None]
    return latents if numbers == list(range(latents.shape[2])) else latents[:, :, numbers]


def _kept_pixels(pictures: ClipPictures, mask: ClipPictures, frames: range) -> NDArray[np.float32]:
    """Return the frames with grey where they are repainted, as inpainting models are trained."""
    kept = shown(mask, frames) < 128
    return np.where(kept, shown(pictures, frames), np.float32(127.5)).astype(np.float32)


def audio_of(config: GenerateConfig) -> AudioTrack | None:
    """Return the part of the video's audio that plays beside the clip; None if it would not keep step with it."""
    if not config.video or not config.audio:
        return None
    entry = VideoEntry.read(config.video)
    opened = open_input(entry.source, FLAG)
    if opened.media.kind != "video" or entry.fps not in (None, config.fps):
        return None
    times, section = opened.timeline.times, section_of(opened, entry)
    seconds = min(seconds_of(opened, entry), config.num_frames / config.fps)
    return AudioTrack(opened.path, times[section.start], seconds)


def _entry(layers: Sequence[Layer]) -> VideoEntry | None:
    """Return the video that the layers name together. Raises `UsageError`."""
    entry: VideoEntry | None = None
    for layer in layers:
        for key, value in layer.values.items():
            if key == "video":
                checked = check_value(GenerateConfig, key, value, layer.origin(key))
                entry = VideoEntry.read(checked) if checked else None
            elif key.startswith("video.") and entry:
                checked = check_value(GenerateConfig, key, value, layer.origin(key))
                entry = entry.model_copy(update={key.removeprefix("video."): checked})
    return entry


def _given(layers: Sequence[Layer]) -> Mapping[str, object]:
    return {
        key: check_value(GenerateConfig, key, layer.values[key], layer.origin(key))
        for layer in layers
        for key in ("width", "height", "fps")
        if key in layer.values
    }


def _size(opened: OpenInput, given: Mapping[str, object]) -> Mapping[str, int]:
    """Return the sides of the clip: those of the video, cut to multiples of 8, or in its shape beside a given side."""
    width, height = opened.timeline.width, opened.timeline.height
    across, down = given.get("width"), given.get("height")
    if isinstance(across, int) and not isinstance(down, int):
        return {"height": max(8, round(across * height / width / 8) * 8)}
    if isinstance(down, int) and not isinstance(across, int):
        return {"width": max(8, round(down * width / height / 8) * 8)}
    return {"width": max(8, floor(width / 8) * 8), "height": max(8, floor(height / 8) * 8)}


def _sampled_rate(layers: Sequence[Layer], entry: VideoEntry, fps: float | None) -> float:
    given = _given(layers).get("fps")
    rate = entry.fps or given or fps
    assert isinstance(rate, (int, float))
    return float(rate)


def _num_frames(opened: OpenInput, count: int) -> int:
    if count > MAX_FRAMES:
        raise UsageError(
            f"`{opened.path}` gives {count} frames, and a clip has at most {MAX_FRAMES}",
            hint="take a part of it, `--video-range 0s-60s`, or fewer frames per second, `--video-fps 8`",
        )
    return count
