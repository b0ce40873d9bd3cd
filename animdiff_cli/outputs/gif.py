"""Write GIF: ffmpeg chooses a palette and encodes, then exact delays and the recipe are patched into the file."""

import base64
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil, sqrt
from pathlib import Path
from typing import NamedTuple

from animdiff_cli.core.timing import gif_delays
from animdiff_cli.outputs.ffmpeg import EncodeError, Frames, encode, file_url
from animdiff_cli.outputs.spool import FrameSequence

#: error diffusion gives the best colours; limiting it to the changed rectangle keeps still parts from flickering
DITHER = "dither=sierra2_4a:diff_mode=rectangle"
#: palette generation takes time per pixel, and half a million give the same palette as all
PALETTE_PIXELS = 2**19
#: any rate in whole centiseconds: `set_delays` writes the exact delays afterwards
PLACEHOLDER_RATE = Fraction(25)

EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
GRAPHIC_CONTROL, COMMENT = 0xF9, 0xFE


class Block(NamedTuple):
    """One block of a GIF: its type and its byte range."""

    kind: int
    label: int  # 0 unless an extension
    start: int
    end: int


def write_gif(frames: FrameSequence, fps: float, path: Path, recipe: str) -> None:
    """Write `[F, H, W, 3]` as a GIF that loops forever: exactly F images, F / fps seconds ± 5 ms.

    Uses one palette for the whole clip: 255 colours, and one index for unchanged, transparent pixels.
    Raises `UsageError` above 50 fps.
    """
    delays = gif_delays(len(frames), fps)
    # one kilobyte, small enough for a command-line argument
    palette = "data:image/png;base64," + base64.b64encode(_palette(frames)).decode()
    dithered = ["-i", palette, "-lavfi", f"[0][1]paletteuse={DITHER}", "-fps_mode", "passthrough"]
    _, height, width, _ = frames.shape
    encode(frames, (width, height), PLACEHOLDER_RATE, [*dithered, "-loop", "0", "-f", "gif", file_url(path)])
    path.write_bytes(set_delays(path.read_bytes(), delays, recipe))


def set_delays(gif: bytes, delays: Sequence[int], comment: str) -> bytes:
    """Return a GIF with the given delay (centiseconds) for each image, and an ASCII comment before the first.

    Raises `EncodeError` unless there is one delay per image.
    """
    blocks = list(_blocks(gif))
    controls = [block for block in blocks if block.label == GRAPHIC_CONTROL]
    images = sum(block.kind == IMAGE for block in blocks)
    if not len(controls) == images == len(delays):
        raise EncodeError(f"ffmpeg wrote {images} images for {len(delays)} frames")
    timed = bytearray(gif)
    for control, delay in zip(controls, delays, strict=True):
        # introducer, label, size and flags come first
        timed[control.start + 4 : control.start + 6] = delay.to_bytes(2, "little")
    first = controls[0].start
    return bytes(timed[:first]) + _comment(comment) + bytes(timed[first:])


def subsample(frames: FrameSequence) -> tuple[Iterator[Frames], tuple[int, int]]:
    """Return about `PALETTE_PIXELS` pixels of a clip: each frame on a regular grid that shifts from frame to frame.

    Yields views `[H // step, W // step, 3]`; step is 1 for small clips. Also returns their width and height.
    """
    num_frames, height, width, _ = frames.shape
    step = min(ceil(sqrt(num_frames * height * width / PALETTE_PIXELS)), height, width)
    rows, columns = height // step, width // step

    def sample() -> Iterator[Frames]:
        for index, frame in enumerate(frames):
            down, right = divmod(index % step**2, step)
            yield frame[down : down + rows * step : step, right : right + columns * step : step]

    return sample(), (columns, rows)


def _palette(frames: FrameSequence) -> bytes:
    """Generate the palette of a clip: a PNG of 16×16 pixels."""
    sample, size = subsample(frames)
    arguments = ["-vf", "palettegen", "-f", "image2pipe", "-c:v", "png", "pipe:1"]
    return encode(sample, size, PLACEHOLDER_RATE, arguments)


def _comment(text: str) -> bytes:
    raw = text.encode("ascii")
    pieces = [raw[at : at + 255] for at in range(0, len(raw), 255)]
    return bytes([EXTENSION, COMMENT]) + b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"


def _blocks(gif: bytes) -> Iterator[Block]:
    at = 13 + _table_size(gif[10])
    while gif[at] != TRAILER:
        kind = gif[at]
        if kind == EXTENSION:
            end = _after_data(gif, at + 2)
        else:
            # ten bytes of descriptor, colour table, one byte of code size
            end = _after_data(gif, at + 10 + _table_size(gif[at + 9]) + 1)
        yield Block(kind, gif[at + 1] if kind == EXTENSION else 0, at, end)
        at = end


def _table_size(flags: int) -> int:
    """Return the size of the colour table in bytes, from its packed field."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _after_data(gif: bytes, at: int) -> int:
    while gif[at]:
        at += gif[at] + 1
    return at + 1
