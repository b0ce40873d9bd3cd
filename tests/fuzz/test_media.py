"""Damaged images, videos, captions, lists and archives end in success or an `AnimdiffError`, in little time and memory.

Each input is a valid small file with a few mutations. The seed of a failing input is in the message: run it again with
`check(subject, seed, …)`.
"""

import random
import resource
import struct
import tarfile
import time
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animdiff_cli.config.data_config import DataConfig
from animdiff_cli.core.formats import FORMATS
from animdiff_cli.errors import AnimdiffError
from animdiff_cli.outputs import read_recipe, write_clip
from animdiff_cli.outputs.read import is_animation, read_clip, read_image
from animdiff_cli.training.data import decode, pictures
from animdiff_cli.training.data.find import find
from animdiff_cli.training.data.media import Media

#: seconds for one input
MAX_SECONDS = 20
#: bytes by which one input may raise the peak of this process, or a decoder's own peak
MAX_MEMORY = 2 << 30
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


def written(format: str) -> bytes:
    """Return a clip of 3 small frames that move, in a format of this program."""
    frames = np.random.default_rng(0).integers(0, 255, (3, 16, 24, 3), dtype=np.uint8)
    path = Path(f"clip{FORMATS[format].suffix}")
    return write_clip(frames, 8, path, format, {"prompt": "a fox"}, overwrite=True).read_bytes()


def picture(format: str) -> bytes:
    """Return an image with an alpha channel where the format has one."""
    file = BytesIO()
    Image.new("RGB" if format in ("JPEG", "BMP") else "RGBA", (24, 16), (9, 99, 200)).save(file, format)
    return file.getvalue()


def shard() -> bytes:
    """Return a tar archive of a picture with captions."""
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in (("1.png", picture("PNG")), ("1.txt", b"a fox"), ("1.json", b'{"caption": "a fox"}')):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, BytesIO(content))
    return file.getvalue()


def read_as_clip(path: Path) -> None:
    """Read a file as `evaluate` does."""
    for reader in (read_clip, read_recipe):
        ended(reader, path)
    is_animation(path)


def read_as_picture(path: Path) -> None:
    """Read a file as a reference image and as training data."""
    ended(read_image, path)
    for kind in ("still", "animation"):
        media = Media(path.name, path, kind)
        ended(pictures.probe, media)


def read_as_footage(path: Path) -> None:
    """Read a video as training data."""

    def first_frame(path: Path) -> None:
        media = Media(path.name, path, "video")
        decode.read_frames(media, decode.probe(media), [0], (16, 16))

    ended(first_frame, path)


def read_as_list(path: Path) -> None:
    """Find the footage that a list, archive or folder with captions names."""
    ended(find, DataConfig(videos=path.parent if path.suffix == ".txt" else path, shot="zoom-in"))


def ended(reader: Callable[..., object], *arguments: object) -> None:
    """Call a reader; only an `AnimdiffError` may come out."""
    try:
        reader(*arguments)
    except AnimdiffError as error:
        assert str(error)


#: name of the file → (a valid one, how it is read, inputs in the short run, inputs in the long one)
SUBJECTS = {
    "a.gif": (lambda: written("gif"), read_as_clip, 20, 4000),
    "a.webp": (lambda: written("webp"), read_as_clip, 20, 4000),
    "a.png": (lambda: written("apng"), read_as_clip, 20, 4000),
    "b.png": (lambda: picture("PNG"), read_as_picture, 10, 2000),
    "b.jpg": (lambda: picture("JPEG"), read_as_picture, 20, 4000),
    "b.bmp": (lambda: picture("BMP"), read_as_picture, 20, 4000),
    "b.tiff": (lambda: picture("TIFF"), read_as_picture, 20, 4000),
    "b.webp": (lambda: picture("WEBP"), read_as_picture, 10, 2000),
    "b.gif": (lambda: written("gif"), read_as_picture, 10, 2000),
    "c.mp4": (lambda: written("mp4"), read_as_clip, 1, 300),
    "c.webm": (lambda: written("webm"), read_as_clip, 1, 300),
    "d.mp4": (lambda: written("mp4"), read_as_footage, 1, 300),
    "d.gif": (lambda: written("gif"), read_as_footage, 1, 300),
    "e.txt": (lambda: "a fox’s den".encode(), read_as_list, 10, 2000),
    "e.csv": (lambda: b'file_name, caption\na.mp4, "a fox, running"\n', read_as_list, 20, 4000),
    "e.jsonl": (lambda: b'{"file_name": "a.mp4", "caption": "a fox"}\n', read_as_list, 20, 4000),
    "e.tar": (shard, read_as_list, 20, 4000),
}


def check(name: str, seed: int, folder: Path, valid: bytes, read: Callable[[Path], None]) -> None:
    """Read the mutation of a valid file with this seed, and measure time and memory."""
    raw = mutate(valid, random.Random(f"{name} {seed}"))
    path = folder / name
    path.write_bytes(with_valid_checksums(raw) if raw.startswith(b"\x89PNG") else raw)
    before, start = peaks(), time.monotonic()
    try:
        read(path)
    except Exception as error:
        raise AssertionError(f"{name}, seed {seed}: {type(error).__name__}: {error}") from error
    seconds, (own, child) = time.monotonic() - start, peaks()
    assert seconds < MAX_SECONDS, f"{name}, seed {seed}: {seconds:.0f} s"
    assert own - before[0] < MAX_MEMORY and child < MAX_MEMORY, f"{name}, seed {seed}: {own >> 20}, {child >> 20} MiB"


def peaks() -> tuple[int, int]:
    """Return the peak memory in bytes of this process, and of the largest finished child."""
    usage = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, child = (1024 * who.ru_maxrss for who in usage)
    return own, child


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ANIMDIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "e.mp4").touch()
    return tmp_path / "inputs"


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_damaged_file_ends_in_one_sentence(name, folder):
    make, read, inputs, _ = SUBJECTS[name]
    valid = make()
    for seed in range(inputs):
        check(name, seed, folder, valid, read)


@pytest.mark.full
@pytest.mark.parametrize("name", SUBJECTS)
def test_thousands_of_damaged_files_end_in_one_sentence(name, folder):
    make, read, _, inputs = SUBJECTS[name]
    valid = make()
    for seed in range(1000, 1000 + inputs):
        check(name, seed, folder, valid, read)
