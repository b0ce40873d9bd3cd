"""`python -m tools.pocket footage`: draw captioned stills or clips of the world for `animdiff train-*`."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from animdiff_cli.core.choices import Shot
from animdiff_cli.core.shots import shot_windows
from animdiff_cli.errors import AnimdiffError, UsageError
from animdiff_cli.training.data.crop import crop
from tools.pocket.captions import caption
from tools.pocket.styles import STYLES
from tools.pocket.watermark import mark
from tools.pocket.world import VERSION, random_scene, render

NUM_FRAMES = 16
WIDE_MARGIN = 32
"""Pixels added on every side of a wide picture: room for a made camera move of 128 pixels."""

CAMERA_SPEED = (0.2, 0.6)
"""How far a made camera goes over a clip, in the units of `animdiff_cli.core.shots`."""

RECORD = "footage.json"


@dataclass(frozen=True, slots=True)
class Footage:
    """What to draw. Item n of the same footage is always the same image or clip.

    A fraction `camera` of the clips has camera motion and no caption, so that a motion module does not associate camera
    motion with prompts that do not mention it.
    """

    what: Literal["stills", "clips"]
    style: str = "base"
    watermark: bool = False
    wide: bool = False
    seed: int = 0
    camera: float = 0.0


def main(argv: Sequence[str]) -> int:
    """Draw the missing items and print the folder; return the exit status."""
    arguments = _parser().parse_args(argv)
    footage = Footage(
        arguments.what, arguments.style, arguments.watermark, arguments.wide, arguments.seed, arguments.camera
    )
    try:
        draw_footage(arguments.out, footage, arguments.count, workers=arguments.workers)
    except AnimdiffError as error:
        print(f"error: {error}", file=sys.stderr)
        print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    print(arguments.out)
    return 0


def draw_footage(folder: Path, footage: Footage, count: int, *, workers: int = 1) -> None:
    """Draw items 0 to `count` - 1 into `folder`, except those that exist.

    A still is `00000.png`, a clip the folder `00000` of 16 frames `00.png` …; each has a caption `00000.txt`, written
    last, so an item with a caption is complete. Raises `UsageError` if `folder` contains other footage.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, footage)
    missing = [number for number in range(count) if not _caption_file(folder, number).exists()]
    if workers == 1 or len(missing) < 2:
        _draw_share(folder, footage, missing)
        return
    shares = [missing[worker::workers] for worker in range(min(workers, len(missing)))]
    with ProcessPoolExecutor(len(shares), mp_context=get_context("spawn")) as pool:
        list(pool.map(partial(_draw_share, folder, footage), shares))


def draw_piece(footage: Footage, number: int) -> tuple[np.ndarray, str]:
    """Draw item `number`: frames uint8 [F, H, W, 3], one for a still and 16 for a clip, and the caption."""
    rng = np.random.default_rng((footage.seed, number))
    scene = random_scene(rng)
    words = caption(scene, rng)
    moment = int(rng.integers(NUM_FRAMES))
    still = footage.what == "stills"
    filmed = not still and rng.random() < footage.camera
    frames = render(
        scene,
        num_frames=1 if still else NUM_FRAMES,
        first_frame=moment if still else 0,
        style=footage.style,
        margin=WIDE_MARGIN if footage.wide or filmed else 0,
    )
    if filmed:
        frames, words = _film(frames, footage.wide, rng), ""
    return (mark(frames) if footage.watermark else frames), words


def _film(frames: np.ndarray, wide: bool, rng: np.random.Generator) -> np.ndarray:
    """Crop wide frames with one of the eight camera moves, at a random speed."""
    shots = get_args(Shot)
    shot, speed = shots[rng.integers(len(shots))], rng.uniform(*CAMERA_SPEED)
    side = frames.shape[1]
    position = tuple(rng.random(2))
    windows = shot_windows(shot, speed, len(frames), side, side, position=position)
    seen = side if wide else side - 2 * WIDE_MARGIN
    return crop(frames, windows, (seen, seen))


def _draw_share(folder: Path, footage: Footage, numbers: Iterable[int]) -> None:
    for number in numbers:
        frames, words = draw_piece(footage, number)
        if footage.what == "stills":
            _write_png(folder / f"{number:05}.png", frames[0])
        else:
            _write_clip(folder / f"{number:05}", frames)
        _write_text(_caption_file(folder, number), words)


def _write_clip(clip: Path, frames: np.ndarray) -> None:
    partial_clip = clip.with_name(f".{clip.name}.part")
    for leftover in (partial_clip, clip):
        shutil.rmtree(leftover, ignore_errors=True)
    partial_clip.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(partial_clip / f"{number:02}.png")
    partial_clip.replace(clip)


def _write_png(path: Path, frame: np.ndarray) -> None:
    partial_file = path.with_suffix(".part")
    Image.fromarray(frame).save(partial_file, "PNG")
    partial_file.replace(path)


def _write_text(path: Path, text: str) -> None:
    partial_file = path.with_suffix(".part")
    partial_file.write_text(text + "\n", encoding="utf-8")
    partial_file.replace(path)


def _caption_file(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.txt"


def _claim(folder: Path, footage: Footage) -> None:
    """Record the footage of the folder, so that later runs do not mix in other footage."""
    record, wanted = folder / RECORD, {**asdict(footage), "world_version": VERSION}
    if not record.exists():
        _write_text(record, json.dumps(wanted))
    elif (held := json.loads(record.read_text(encoding="utf-8"))) != wanted:
        raise UsageError(
            f"{folder} holds other footage: {json.dumps(held)}", hint="name another folder with `--out DIR`"
        )


def _parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser("python -m tools.pocket footage", description=__doc__)
    flags.add_argument("--out", type=Path, required=True, help="where the footage goes; what is missing is drawn")
    flags.add_argument("--what", choices=("stills", "clips"), required=True)
    flags.add_argument("--count", type=int, required=True, help="how many of them")
    flags.add_argument("--style", choices=tuple(STYLES), default="base")
    flags.add_argument("--watermark", action="store_true", help="lay the mark over every frame")
    flags.add_argument("--wide", action="store_true", help="192 pixels a side: room for a made camera move")
    flags.add_argument("--camera", type=float, default=0.0, help="share of the clips whose camera moves, uncaptioned")
    flags.add_argument("--seed", type=int, default=0, help="another seed draws other scenes")
    flags.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that draw at once")
    return flags


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
