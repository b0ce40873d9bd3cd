"""Contact sheets of rendered clips: the same prompts and noise side by side, not cherry-picked."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from animdiff_cli.outputs import write_clip
from tools.pocket.study.conditions import MODULES, STYLES
from tools.pocket.study.rendering import clip_frames, has_frames, index_file, read_index
from tools.pocket.study.settings import ADAPTER_SCALES, SHOTS
from tools.pocket.world import OBJECTS

SIDE = 56  # px of an image in a sheet
FPS = 8.0
#: conditions in rows; row r of `plug` shows clip r, the others a fixed clip of each kind
Grid = Sequence[Sequence[tuple[str, int]]]

HEART = OBJECTS.index("heart")
SHEETS: Mapping[str, Grid] = {
    "plug.gif": [[(f"plug-{style}-{module}", row) for module in MODULES] for row, style in enumerate(STYLES)],
    "adapter.png": [
        [(name, clip) for clip in range(len(OBJECTS))]
        for name in (*(f"adapter-{round(100 * scale):03}" for scale in ADAPTER_SCALES), "adapter-never")
    ],
    "lora.gif": [
        [(f"lora-{shot}", HEART) for shot in SHOTS[:4]] + [("plug-base-bundled", HEART)],
        [(f"lora-{shot}", HEART) for shot in SHOTS[4:]] + [("lora-composed", HEART)],
    ],
}
CAPTIONS: Mapping[str, str] = {
    "plug.gif": "Rows are image models, columns motion modules, in the order of the table; grey: not rendered.",
    "adapter.png": "The middle frame of one clip per object; rows are in the order of the table without its last row.",
    "lora.gif": "Top: zooms, pans and no MotionLoRA. Bottom: tilts, rolls and two combined. All from the same noise.",
}


def draw_sheets(work: Path, folder: Path) -> Iterator[Path]:
    """Draw every sheet that has a clip; missing clips are grey."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, grid in SHEETS.items():
        cells = [[_cell(work, *cell) for cell in row] for row in grid]
        if all(cell is None for row in cells for cell in row):
            continue
        frames = np.concatenate([np.concatenate([_or_grey(one) for one in row], axis=2) for row in cells], axis=1)
        if name.endswith(".gif"):
            recipe = {"made_by": "python -m tools.pocket study"}
            yield write_clip(frames, FPS, folder / name, "gif", recipe, overwrite=True)
        else:
            # a palette is a third of the size, and exact colours do not matter here
            Image.fromarray(frames[len(frames) // 2]).quantize(256).save(folder / name, optimize=True)
            yield folder / name


def shown(condition: str) -> set[int]:
    """Return the indices of the clips of a condition that a sheet shows."""
    return {number for grid in SHEETS.values() for row in grid for name, number in row if name == condition}


def _cell(work: Path, condition: str, number: int) -> np.ndarray | None:
    """Return a clip, uint8 [F, SIDE, SIDE, 3]; the last one if the condition has fewer, None if it does not exist."""
    if not index_file(work, condition).is_file():
        return None
    clips = read_index(work, condition)["clips"]
    clip = clips[min(number, len(clips) - 1)]
    if not has_frames(work, clip):
        return None
    frames = clip_frames(work, clip)
    return np.stack([np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BOX)) for frame in frames])


def _or_grey(frames: np.ndarray | None) -> np.ndarray:
    return np.full((16, SIDE, SIDE, 3), 128, dtype=np.uint8) if frames is None else frames
