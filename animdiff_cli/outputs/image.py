"""Write WebP (small) and APNG (lossless) with Pillow."""

from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import Blend

from animdiff_cli.core.timing import durations_ms
from animdiff_cli.outputs.provenance import exif, png_info
from animdiff_cli.outputs.spool import FrameSequence


def write_webp(frames: FrameSequence, fps: float, path: Path, recipe: str) -> None:
    """Write `[F, H, W, 3]` as a lossy WebP that loops forever. Frame times are exact to the millisecond.

    libwebp merges a frame that equals the previous one into it, with a longer duration. One frame becomes a still.
    """
    Animation(frames).save(
        path,
        "WEBP",
        save_all=True,
        duration=durations_ms(len(frames), fps),
        loop=0,
        quality=90,
        method=4,
        exif=exif(recipe),
    )


def write_apng(frames: FrameSequence, fps: float, path: Path, recipe: str) -> None:
    """Write `[F, H, W, 3]` as a lossless APNG of exactly F frames that loops forever. One frame becomes a plain PNG.

    APNG stores delays as fractions of a second, so every frame lasts exactly 1 / fps. Pillow holds all frames in
    memory until it writes them.
    """
    Animation(frames).save(
        path,
        "PNG",
        save_all=True,
        duration=1000 / fps,
        loop=0,
        # Pillow merges equal neighbours with the same blend mode; opaque pixels look the same in both modes
        blend=[Blend.OP_OVER if index % 2 else Blend.OP_SOURCE for index in range(len(frames))],
        pnginfo=png_info(recipe),
    )


class Animation(Image.Image):
    """A clip as Pillow reads an animation, one frame at a time: only `seek` reads frames."""

    def __init__(self, frames: FrameSequence) -> None:
        super().__init__()
        self.n_frames, height, width, _ = frames.shape
        self._mode, self._size = "RGB", (width, height)
        self._frames, self._index = frames, 0
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Make `frame` the current one. Raises `EOFError` after the last frame."""
        if frame >= self.n_frames:
            raise EOFError
        self.im = Image.fromarray(self._frames[frame]).im
        self._index = frame

    def tell(self) -> int:
        """Return the index of the current frame."""
        return self._index
