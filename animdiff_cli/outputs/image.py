"""Animated pictures that Pillow writes: WebP (small) and APNG (lossless)."""

from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import Blend

from animdiff_cli.core.timing import durations_ms
from animdiff_cli.outputs.ffmpeg import Frames
from animdiff_cli.outputs.provenance import exif, png_info


def write_webp(frames: Frames, fps: float, path: Path, recipe: str) -> None:
    """Write `[F, H, W, 3]` as a lossy WebP that loops forever, each frame shown from its exact millisecond.

    libwebp folds a frame that equals the one before it into a longer showing of that one, and one frame is a still.
    """
    first, *rest = _pictures(frames)
    first.save(
        path,
        "WEBP",
        save_all=True,
        append_images=rest,
        duration=durations_ms(len(frames), fps),
        loop=0,
        quality=90,
        method=4,
        exif=exif(recipe),
    )


def write_apng(frames: Frames, fps: float, path: Path, recipe: str) -> None:
    """Write `[F, H, W, 3]` as a lossless APNG of exactly F frames that loops forever; one frame is a plain PNG.

    A delay is a fraction of seconds, so every frame lasts exactly 1 / fps.
    """
    first, *rest = _pictures(frames)
    first.save(
        path,
        "PNG",
        save_all=True,
        append_images=rest,
        duration=1000 / fps,
        loop=0,
        # Pillow merges equal neighbours that blend alike; over opaque pixels the two ways look the same
        blend=[Blend.OP_OVER if index % 2 else Blend.OP_SOURCE for index in range(len(frames))],
        pnginfo=png_info(recipe),
    )


def _pictures(frames: Frames) -> list[Image.Image]:
    return [Image.fromarray(frame) for frame in frames]
