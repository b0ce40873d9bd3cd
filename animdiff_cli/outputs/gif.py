"""GIF: ffmpeg chooses the palette and compresses, then delays and recipe are written into its blocks."""

import base64
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil, sqrt
from pathlib import Path
from typing import NamedTuple

from animdiff_cli.core.timing import gif_delays
from animdiff_cli.outputs.ffmpeg import EncodeError, Frames, encode, url

#: error diffusion keeps colours truest; confining it to what changed keeps the still parts of a clip from flickering
DITHER = "dither=sierra2_4a:diff_mode=rectangle"
#: choosing colours takes time with every pixel, and half a million tell as much as all of them
PALETTE_PIXELS = 2**19
#: any rate that is whole centiseconds: `retime` puts the true delays in afterwards
PLACEHOLDER_RATE = Fraction(25)

EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
GRAPHIC_CONTROL, COMMENT = 0xF9, 0xFE


class Block(NamedTuple):
    """One block of a GIF: what it is, and where it lies."""

    kind: int
    label: int  # of an extension, else 0
    start: int
    end: int


def write_gif(frames: Frames, fps: float, path: Path, recipe: str) -> None:
    """Write `[F, H, W, 3]` as a GIF that loops forever, with exactly F pictures and a total of F / fps ± 5 ms.

    One palette of 255 colours for the whole clip, and one for transparency where nothing changed.
    Raises `UsageError` above 50 fps.
    """
    delays = gif_delays(len(frames), fps)
    # one kilobyte, small enough to travel in an argument
    palette = "data:image/png;base64," + base64.b64encode(_palette(frames)).decode()
    dithered = ["-i", palette, "-lavfi", f"[0][1]paletteuse={DITHER}", "-fps_mode", "passthrough"]
    height, width = frames.shape[1:3]
    encode(frames, (width, height), PLACEHOLDER_RATE, [*dithered, "-loop", "0", "-f", "gif", url(path)])
    path.write_bytes(retime(path.read_bytes(), delays, recipe))


def retime(gif: bytes, delays: Sequence[int], comment: str) -> bytes:
    """The same GIF with the given delay (centiseconds) for each picture, and an ASCII comment before the first.

    Raises `EncodeError` unless there is one delay per picture.
    """
    blocks = list(_blocks(gif))
    controls = [block for block in blocks if block.label == GRAPHIC_CONTROL]
    pictures = sum(block.kind == IMAGE for block in blocks)
    if not len(controls) == pictures == len(delays):
        raise EncodeError(f"ffmpeg wrote {pictures} pictures for {len(delays)} frames")
    timed = bytearray(gif)
    for control, delay in zip(controls, delays, strict=True):
        # introducer, label, size and flags come first
        timed[control.start + 4 : control.start + 6] = delay.to_bytes(2, "little")
    first = controls[0].start
    return bytes(timed[:first]) + _comment(comment) + bytes(timed[first:])


def sampled(frames: Frames) -> list[Frames]:
    """Every frame thinned to a grid that shifts from frame to frame, about `PALETTE_PIXELS` pixels in all.

    Views `[H / step, W / step, 3]`, rounded down; the whole frames of a small clip.
    """
    num_frames, height, width = frames.shape[:3]
    step = min(ceil(sqrt(num_frames * height * width / PALETTE_PIXELS)), height, width)
    rows, columns = height // step, width // step
    shifts = [divmod(index % step**2, step) for index in range(num_frames)]
    return [
        frame[down : down + rows * step : step, right : right + columns * step : step]
        for frame, (down, right) in zip(frames, shifts, strict=True)
    ]


def _palette(frames: Frames) -> bytes:
    """A PNG of 16×16 colours chosen for the whole clip."""
    sample = sampled(frames)
    height, width = sample[0].shape[:2]
    arguments = ["-vf", "palettegen", "-f", "image2pipe", "-c:v", "png", "pipe:1"]
    return encode(sample, (width, height), PLACEHOLDER_RATE, arguments)


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
            # descriptor of ten bytes, colour table, one byte of code size
            end = _after_data(gif, at + 10 + _table_size(gif[at + 9]) + 1)
        yield Block(kind, gif[at + 1] if kind == EXTENSION else 0, at, end)
        at = end


def _table_size(flags: int) -> int:
    """Bytes of the colour table that a packed field announces."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _after_data(gif: bytes, at: int) -> int:
    while gif[at]:
        at += gif[at] + 1
    return at + 1
