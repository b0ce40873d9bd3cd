"""Training clips: rendered once by all cores, kept on disk in chunks, found again on the next run."""

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from tools.pocket.captions import caption
from tools.pocket.world import random_scene, render

CAPTIONS_PER_CLIP = 8
CLIPS_PER_CHUNK = 16
DATA_SEED = 2024  # chunk c draws its scenes from the generator seeded (DATA_SEED, c)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where one chunk of clips lives: frames uint8 [N, F, H, W, 3] as .npy, captions [N][8] as .json."""

    frames_file: Path
    captions_file: Path

    def frames(self) -> np.ndarray:
        """Map the frames into memory without reading them: uint8 [N, F, H, W, 3]."""
        return np.load(self.frames_file, mmap_mode="r")

    def captions(self) -> list[list[str]]:
        """Return the wordings of each clip."""
        return json.loads(self.captions_file.read_text())


def render_clips(
    folder: Path,
    *,
    num_clips: int,
    seconds: float,
    workers: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> list[Chunk]:
    """Render until `folder` holds `num_clips` clips or `seconds` have passed; return every finished chunk.

    At least one chunk per worker is finished, however short the time. Chunks are numbered and seeded by number, so a
    second call adds the missing ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = clock() + seconds
    wanted = -(-num_clips // CLIPS_PER_CHUNK)
    missing = iter([number for number in range(wanted) if not _chunk(folder, number).captions_file.exists()])
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        _render_here(folder, missing, lambda: clock() < deadline)
    else:
        _render_in_pool(folder, missing, lambda: clock() < deadline, workers)
    return finished_chunks(folder)


def finished_chunks(folder: Path) -> list[Chunk]:
    """List the chunks in `folder` by number. Captions are written last, so a chunk that has them is whole."""
    return [_chunk(folder, int(file.stem.split("-")[1])) for file in sorted(folder.glob("clips-*.json"))]


def sample_captions(count: int) -> list[str]:
    """Word `count` random scenes, none of them drawn: what the tokenizer learns from."""
    rng = np.random.default_rng(DATA_SEED)
    return [caption(random_scene(rng), rng) for _ in range(count)]


def render_chunk(folder: Path, number: int, num_clips: int = CLIPS_PER_CHUNK) -> Chunk:
    """Render chunk `number` and write it: first the frames, then the captions."""
    rng = np.random.default_rng((DATA_SEED, number))
    scenes = [random_scene(rng) for _ in range(num_clips)]
    chunk = _chunk(folder, number)
    frames = np.stack([render(scene) for scene in scenes])
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


def _render_here(folder: Path, numbers: Iterator[int], time_left: Callable[[], bool]) -> None:
    for done, number in enumerate(numbers):
        if done and not time_left():
            return
        render_chunk(folder, number)


def _render_in_pool(folder: Path, numbers: Iterator[int], time_left: Callable[[], bool], workers: int) -> None:
    # spawned workers start clean: forking a process whose torch threads run can deadlock
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running: set[Future[Chunk]] = {pool.submit(render_chunk, folder, number) for number, _ in zip(numbers, range(workers))}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
                following = next(numbers, None) if time_left() else None
                if following is not None:
                    running.add(pool.submit(render_chunk, folder, following))
