"""Training clips: rendered once on all cores, cached on disk in chunks, reused by later runs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from tools.pocket.captions import caption
from tools.pocket.world import random_scene, render

CAPTIONS_PER_CLIP = 8
CLIPS_PER_CHUNK = 16
DATA_SEED = 2024  # chunk c uses a generator with seed (DATA_SEED, c)

_REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Files of one chunk of clips: frames uint8 [N, F, H, W, 3] as .npy, captions [N][8] as .json."""

    frames_file: Path
    captions_file: Path

    def frames(self) -> np.ndarray:
        """Memory-map the frames: uint8 [N, F, H, W, 3]."""
        return np.load(self.frames_file, mmap_mode="r")

    def captions(self) -> list[list[str]]:
        """Return the captions of each clip."""
        return json.loads(self.captions_file.read_text())


def render_clips(
    folder: Path, *, num_clips: int, seconds: float, workers: int | None = None, styles: Sequence[str] = ("base",)
) -> list[Chunk]:
    """Render until `folder` contains `num_clips` clips or `seconds` have passed; return all finished chunks.

    Each worker finishes at least one chunk, however short the time. Chunks are seeded by their number, so a second call
    adds the missing ones. The clips of a chunk alternate between `styles`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = -(-num_clips // CLIPS_PER_CHUNK)
    workers = min(workers or os.cpu_count() or 1, wanted)
    share = [str(folder.resolve()), str(wanted), str(workers), f"{seconds:.1f}", ",".join(styles)]
    command = [sys.executable, "-m", "tools.pocket.data", *share]
    # plain processes: each worker of a multiprocessing pool would import torch
    running = [subprocess.Popen([*command, str(worker)], cwd=_REPOSITORY) for worker in range(workers)]
    failed = [process.args for process in running if process.wait() != 0]
    if failed:
        raise RuntimeError(f"{len(failed)} of {workers} render processes failed")
    return finished_chunks(folder)


def render_share(folder: Path, wanted: int, workers: int, seconds: float, styles: Sequence[str], worker: int) -> None:
    """Render every `workers`-th missing chunk below number `wanted`, from `worker` on, for about `seconds`."""
    deadline = time.monotonic() + seconds
    missing = [number for number in range(worker, wanted, workers) if not _chunk(folder, number).captions_file.exists()]
    for done, number in enumerate(missing):
        if done and time.monotonic() >= deadline:
            return
        render_chunk(folder, number, styles=styles)


def finished_chunks(folder: Path) -> list[Chunk]:
    """List the chunks in `folder` by number. Captions are written last, so a chunk with captions is complete."""
    return [_chunk(folder, int(file.stem.split("-")[1])) for file in sorted(folder.glob("clips-*.json"))]


def sample_captions(count: int) -> list[str]:
    """Caption `count` random scenes without rendering them, to train the tokenizer."""
    rng = np.random.default_rng(DATA_SEED)
    return [caption(random_scene(rng), rng) for _ in range(count)]


def render_chunk(
    folder: Path, number: int, num_clips: int = CLIPS_PER_CHUNK, *, styles: Sequence[str] = ("base",)
) -> Chunk:
    """Render chunk `number`. Write first the frames, then the captions."""
    rng = np.random.default_rng((DATA_SEED, number))
    scenes = [random_scene(rng) for _ in range(num_clips)]
    chunk = _chunk(folder, number)
    frames = np.stack([render(scene, style=style) for scene, style in zip(scenes, cycle(styles), strict=False)])
    captions = [[caption(scene, rng) for _ in range(CAPTIONS_PER_CLIP)] for scene in scenes]
    partial = chunk.frames_file.with_suffix(".part")
    with partial.open("wb") as file:
        np.save(file, frames)
    partial.replace(chunk.frames_file)
    partial.write_text(json.dumps(captions))
    partial.replace(chunk.captions_file)
    return chunk


def _chunk(folder: Path, number: int) -> Chunk:
    return Chunk(folder / f"clips-{number:05}.npy", folder / f"clips-{number:05}.json")


if __name__ == "__main__":
    where, wanted, workers, seconds, styles, worker = sys.argv[1:]
    render_share(Path(where), int(wanted), int(workers), float(seconds), styles.split(","), int(worker))
