"""Damaged images, videos, captions, lists and archives: valid small files with a few mutations."""

import random
import re
import struct
import tarfile
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from animdiff_cli.config.data_config import DataConfig
from animdiff_cli.core.formats import FORMATS
from animdiff_cli.outputs import read_recipe, write_clip
from animdiff_cli.outputs.read import MAX_BYTES, is_animation, read_clip, read_image
from animdiff_cli.training.data import decode, pictures
from animdiff_cli.training.data.find import find
from animdiff_cli.training.data.media import Media
from tests.fuzz.harness import AcceptedWrongly, Subject

#: values that break size fields
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
#: values that break lists and captions
TEXTS = (
    b"\0",
    b'"',
    b"{",
    b"[" * 5000,
    b"9" * 5000,
    b",",
    b"\r",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"../",
    b"a" * 300,
)


def mutate(raw: bytes, rng: random.Random) -> bytes:
    """Flip, overwrite, cut, repeat and insert bytes; half of the changes hit the first 256 bytes."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not data:
            break
        at = rng.randrange(min(len(data), 256) if rng.random() < 0.5 else len(data))
        kind = rng.randrange(6)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            field = struct.pack(rng.choice("<>") + rng.choice("HI"), 0)
            value = rng.choice(EXTREMES) % (1 << 8 * len(field))
            data[at : at + len(field)] = value.to_bytes(len(field), rng.choice(("little", "big")))
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            data[at:at] = data[at : at + rng.choice((4, 64, 1024))]
        else:
            data[at:at] = rng.choice(TEXTS)
    return bytes(data)


def with_valid_checksums(png: bytes) -> bytes:
    """Recompute the CRC of each chunk of a PNG, so that damage reaches the decoder."""
    data, at = bytearray(png), 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(data)


@cache
def written(format: str) -> bytes:
    """Return a clip of 3 small frames that move, in a format of this program."""
    frames = np.random.default_rng(0).integers(0, 255, (3, 16, 24, 3), dtype=np.uint8)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{FORMATS[format].suffix}"
        return write_clip(frames, 8, path, format, {"prompt": "a fox"}).read_bytes()


@cache
def picture(format: str) -> bytes:
    """Return an image with an alpha channel where the format has one."""
    file = BytesIO()
    Image.new("RGB" if format in ("JPEG", "BMP") else "RGBA", (24, 16), (9, 99, 200)).save(file, format)
    return file.getvalue()


@cache
def shard() -> bytes:
    """Return a tar archive of a picture with captions."""
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in (("1.png", picture("PNG")), ("1.txt", b"a fox"), ("1.json", b'{"caption": "a fox"}')):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, BytesIO(content))
    return file.getvalue()


def maker(name: str, valid: Callable[[], bytes]) -> Callable[[Path, random.Random], Path]:
    """Return a function that writes a mutation of a valid file, beside a video."""

    def make(folder: Path, random_: random.Random) -> Path:
        raw = mutate(valid(), random_)
        path = folder / name
        path.write_bytes(with_valid_checksums(raw) if raw.startswith(b"\x89PNG") else raw)
        (folder / "e.mp4").touch()
        return path

    return make


def clip(path: Path) -> None:
    """Read a clip as `evaluate` does."""
    is_animation(path)
    read = read_clip(path)
    require_frames(read.frames, 4)
    if read.fps is not None and not 0 < read.fps < float("inf"):
        raise AcceptedWrongly(f"{read.fps} frames per second")


def image(path: Path) -> None:
    """Read a reference image."""
    require_frames(read_image(path), 3)


def trained_picture(path: Path) -> None:
    """Read training data: a still, and an animation."""
    for kind in ("still", "animation"):
        picture = Media(path.name, path, kind)
        timeline = pictures.probe(picture)
        require_frames(pictures.read_frames(picture, [len(timeline.times) - 1], (16, 16)), 4)


def footage(path: Path) -> None:
    """Read a video as training data."""
    video = Media(path.name, path, "video")
    timeline = decode.probe(video)
    if min(timeline.width, timeline.height, len(timeline.times)) < 1:
        raise AcceptedWrongly(f"a timeline {timeline}")
    require_frames(decode.read_frames(video, timeline, [0], (16, 16)), 4)


def listed(path: Path) -> None:
    """Find the footage that a list, archive or folder with captions names."""
    found = find(DataConfig(videos=path.parent if path.suffix == ".txt" else path, shot="zoom-in"))
    for media in found.media:
        if media.span and not 0 <= media.span[0] <= media.span[1] <= path.stat().st_size:
            raise AcceptedWrongly(f"`{media.name}` at {media.span}")
        if media.caption is not None and re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", media.caption):
            raise AcceptedWrongly(f"the caption {media.caption!r:.200}")


def require_frames(frames: np.ndarray, dimensions: int) -> None:
    """Raise `AcceptedWrongly` unless these are frames within the limit of memory."""
    is_rgb = frames.dtype == np.uint8 and frames.ndim == dimensions and frames.shape[-1] == 3
    if not is_rgb or not 0 < frames.nbytes <= MAX_BYTES:
        raise AcceptedWrongly(f"frames {frames.dtype} {frames.shape}")


CLIP = (clip, read_recipe)
PICTURE = (image, trained_picture)
#: name of the file → how a valid one is made, what reads it, inputs in the short and the long run
SUBJECTS = {
    name: Subject(maker(name, valid), readers, short, full)
    for name, valid, readers, short, full in (
        ("a.gif", lambda: written("gif"), CLIP, 20, 4000),
        ("a.webp", lambda: written("webp"), CLIP, 20, 4000),
        ("a.png", lambda: written("apng"), CLIP, 20, 4000),
        ("b.png", lambda: picture("PNG"), PICTURE, 20, 4000),
        ("b.jpg", lambda: picture("JPEG"), PICTURE, 20, 4000),
        ("b.bmp", lambda: picture("BMP"), PICTURE, 20, 4000),
        ("b.tiff", lambda: picture("TIFF"), PICTURE, 20, 4000),
        ("b.webp", lambda: picture("WEBP"), PICTURE, 20, 4000),
        ("b.gif", lambda: written("gif"), PICTURE, 20, 4000),
        ("c.mp4", lambda: written("mp4"), CLIP, 1, 1500),
        ("c.webm", lambda: written("webm"), CLIP, 1, 1500),
        ("d.mp4", lambda: written("mp4"), (footage,), 1, 1500),
        ("d.gif", lambda: written("gif"), (footage,), 1, 1500),
        ("e.txt", lambda: "a fox’s den".encode(), (listed,), 20, 4000),
        ("e.csv", lambda: b'file_name, caption\ne.mp4, "a fox, running"\n', (listed,), 20, 4000),
        ("e.jsonl", lambda: b'{"file_name": "e.mp4", "caption": "a fox"}\n', (listed,), 20, 4000),
        ("e.tar", shard, (listed,), 20, 4000),
    )
}
