"""`python -m tools.pocket.study.pack`: pack the results of a study for another machine, in parts of limited size.

Packs the inputs of the page: the ledger, indexes, readings, reports and small weights, and as WebP the clips that are
still to be measured or shown. Leaves out footage, checkpoints, caches, motion modules and other clips.
"""

import argparse
import io
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tools.pocket.study.conditions import Condition, all_conditions
from tools.pocket.study.contact_sheets import shown
from tools.pocket.study.readings import file_of
from tools.pocket.study.rendering import clip_frames, index_file, packed_file, read_index
from tools.pocket.study.settings import SCALES

#: small files of the work folder, by pattern
KEPT: tuple[str, ...] = (
    *("done/*.json", "failed/*.json", "renders/*.json", "readings/*/*.json", "*.json", "motion.yaml"),
    *("*.safetensors", "logs/*.log"),
    *("runs/*/report.json", "runs/*/config.yaml", "runs/*/loss.csv", "runs/*/*.safetensors", "runs/encoder/*"),
)
QUALITY = 95  # of WebP: the loss is far below what affects measured camera motion
LARGEST = 3 << 20  # bytes; larger weight files are packed only if named
PART_BYTES = 15 << 20


def main(argv: Sequence[str]) -> int:
    """Pack or unpack, and print the files written."""
    arguments = _parser().parse_args(argv)
    if arguments.unpack:
        unpack(arguments.folder, arguments.work)
        print(arguments.work)
        return 0
    for path in pack(arguments.work, arguments.scale, arguments.folder, arguments.also):
        print(path)
    return 0


def pack(work: Path, scale: str, folder: Path, also: Sequence[str] = ()) -> Iterator[Path]:
    """Write `study.tar.00`, `.01` and so on into `folder`: together one tar.

    `also` names trainings whose weights are packed although they are large.
    """
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for pattern in KEPT:
            for file in sorted(work.glob(pattern)):
                if file.stat().st_size <= LARGEST or file.parent.name in ("encoder", *also):
                    tar.add(file, file.relative_to(work))
        for condition in all_conditions(SCALES[scale]):
            _add_clips(tar, work, condition)
    folder.mkdir(parents=True, exist_ok=True)
    content = whole.getvalue()
    for number, start in enumerate(range(0, len(content), PART_BYTES)):
        part = folder / f"study.tar.{number:02}"
        part.write_bytes(content[start : start + PART_BYTES])
        yield part


def unpack(folder: Path, work: Path) -> None:
    """Put the files of `study.tar.*` in `folder` into the work folder."""
    content = b"".join(part.read_bytes() for part in sorted(folder.glob("study.tar.*")))
    work.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:  # `extractall` takes a filter since Python 3.11.4
            path = (work / member.name).resolve()
            if not path.is_relative_to(work.resolve()):
                raise ValueError(f"{member.name} is outside of the work folder")
            if file := tar.extractfile(member):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.read())


def _add_clips(tar: tarfile.TarFile, work: Path, condition: Condition) -> None:
    if not index_file(work, condition.name).is_file():
        return
    is_unread = "camera" in condition.measures and not file_of(work, condition.name, "camera").is_file()
    packed = set(tar.getnames())
    clips = read_index(work, condition.name)["clips"]
    numbers = range(len(clips)) if is_unread else {min(number, len(clips) - 1) for number in shown(condition.name)}
    for number in numbers:
        name = packed_file(work, clips[number]).relative_to(work)
        if str(name) not in packed:
            content = as_webp(clip_frames(work, clips[number]))
            entry = tarfile.TarInfo(str(name))
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def as_webp(frames: np.ndarray) -> bytes:
    """Stack frames, uint8 [F, H, W, 3], vertically into one image."""
    column = Image.fromarray(frames.reshape(-1, *frames.shape[2:]))
    content = io.BytesIO()
    column.save(content, "WEBP", quality=QUALITY, method=4)
    return content.getvalue()


def _parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser("python -m tools.pocket.study.pack", description=__doc__)
    flags.add_argument("folder", type=Path, help="where the parts are, or go")
    flags.add_argument("--work", type=Path, default=Path(".pocket/study"))
    flags.add_argument("--scale", choices=tuple(SCALES), default="full")
    flags.add_argument("--also", nargs="*", default=(), metavar="RUN", help="trainings whose large weights travel too")
    flags.add_argument("--unpack", action="store_true", help="put the parts into the work folder")
    return flags


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
