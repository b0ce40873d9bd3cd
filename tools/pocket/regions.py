"""`python -m tools.pocket regions --out SHEET.png`: measure whether the halves of a clip follow their own prompts.

The left half is to show one colour, the right half another. A pixel counts for a colour if it has half of its chroma.
"""

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from animdiff_cli import load
from tools.pocket.styles import STYLES
from tools.pocket.track import chroma_share

#: object and place, the colours of both halves
CASES = (("heart in a green meadow", ("red", "blue")), ("balloon in the snow", ("yellow", "purple")))
SEEDS = range(4)
SIDE, FRAMES, STEPS = 128, 8, 12
HALF = SIDE // 2


def main(argv: Sequence[str]) -> int:
    """Render the clips with and without regions, print a table, and write a sheet of their first and last frames."""
    parser = argparse.ArgumentParser(prog="python -m tools.pocket regions", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="SHEET", help="picture to write")
    arguments = parser.parse_args(argv)
    animator = load(model="pocket", num_frames=FRAMES, steps=STEPS, width=SIDE, height=SIDE)
    sheet = []
    print("| | left colour in the left half | right colour in the right half | frames with both |\n|---|---|---|---|")
    with TemporaryDirectory() as folder:
        masks = [Path(folder, f"{name}.png") for name in ("left", "right")]
        for mask, first in zip(masks, (0, HALF), strict=True):
            pixels = np.zeros((SIDE, SIDE), np.uint8)
            pixels[:, first : first + HALF] = 255
            Image.fromarray(pixels).save(mask)
        for with_regions in (True, False):
            shares = []
            for (subject, colours), seed in product(CASES, SEEDS):
                prompt = f"a {colours[0]} and {colours[1]} {subject}"
                texts = [f"{mask}=a {colour} {subject}" for mask, colour in zip(masks, colours, strict=True)]
                clip = animator.generate(prompt, seed=seed, regions=texts if with_regions else [])
                frames = np.asarray(clip.frames)
                shares += [_by_half(frame, colours) for frame in frames]
                sheet.append(np.concatenate([frames[0], frames[-1]], axis=1))
            name = "with regions" if with_regions else "the same prompt without them"
            print(f"| {name} | {_table_row(np.array(shares))} |", flush=True)
    half = len(sheet) // 2
    rows = [np.concatenate(pair, axis=1) for pair in zip(sheet[:half], sheet[half:], strict=True)]
    Image.fromarray(np.concatenate(rows)).save(arguments.out)
    return 0


def _by_half(frame: np.ndarray, colours: tuple[str, str]) -> list[list[int]]:
    """Count the pixels of each colour in the left and the right half."""
    found = [chroma_share(frame, STYLES["base"].palette[colour]) > 0.5 for colour in colours]
    return [[int(mask[:, :HALF].sum()), int(mask[:, HALF:].sum())] for mask in found]


def _table_row(counts: np.ndarray) -> str:
    """Summarise counts [frames, colour, half]: shares of all pixels of a colour, and of frames with 20 of each."""
    total = counts.sum(axis=0)
    in_place = [total[colour, colour] / max(total[colour].sum(), 1) for colour in (0, 1)]
    both = (counts.sum(axis=2) >= 20).all(axis=1).mean()
    return " | ".join(f"{share:.0%}" for share in (*in_place, both))
