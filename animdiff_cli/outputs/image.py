"""Write WebP (small) and APNG (lossless) with Pillow."""

from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import Blend

from animdiff_cli.core.timing import durations_ms
from animdiff_cli.outputs.ffmpeg import Frames
from animdiff_cli.outputs.provenance import exif, png_info


def write_webp(frames: Frames, fps: float, path: Path, recipe: str) -> None:
    """Write `[F, H, W, 3]` as a lossy WebP that loops forever. Frame times are exact to the millisecond.

    libwebp merges a frame that equals the previous one into it, with a longer duration. One frame becomes a still.
    """
    first, *rest = _to_pillow(frames)
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
    """Write `[F, H, W, 3]` as a lossless APNG of exactly F frames that loops forever. One frame becomes a plain PNG.

    APNG stores delays as fractions of a second, so every frame lasts exactly 1 / fps.
    """
    first, *rest = _to_pillow(frames)
    first.save(
        path,
        "PNG",
        save_all=True,
        append_images=rest,
        duration=1000 / fps,
        loop=0,
        # Pillow merges equal neighbours with the same blend mode; opaque pixels look the same in both modes
        blend=[Blend.OP_OVER if index % 2 else Blend.OP_SOURCE for index in range(len(frames))],
        pnginfo=png_info(recipe),
    )


def _to_pillow(frames: Frames) -> list[Image.Image]:
    return [Image.fromarray(frame) for frame in frames]
