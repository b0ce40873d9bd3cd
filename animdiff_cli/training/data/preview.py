"""What will be trained, to look at before it is: GIFs and a contact sheet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from animdiff_cli.core.naming import slug
from animdiff_cli.errors import UsageError
from animdiff_cli.files.atomic import claim, hidden_sibling
from animdiff_cli.files.os_errors import readable_output_failures
from animdiff_cli.outputs.ffmpeg import Frames
from animdiff_cli.outputs.gif import write_gif
from animdiff_cli.outputs.provenance import recipe_text
from animdiff_cli.outputs.write import free_path
from animdiff_cli.training.data.dataset import Dataset

#: as `generate` plays its clips
FPS = 8.0
SHEET = "sheet.png"
#: pictures of each clip on the sheet, and their height in pixels
COLUMNS = 8
ROW = 112
LINE = 16


def preview(dataset: Dataset, out: Path, count: int = 8) -> tuple[Path, ...]:
    """Write `count` clips exactly as they will be trained: a folder with `sheet.png` first, then one GIF per clip.

    Takes every video once before it takes a second clip of any. The folder appears whole; where `out` exists, `out-2`
    is made. Returns what was written. Raises `UsageError` for a place that cannot be written, `DecodeError`.
    """
    if count < 1:
        raise UsageError(f"cannot preview {count} clips", hint="give a number from 1")
    with readable_output_failures(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with hidden_sibling(out) as hidden:
            hidden.mkdir()
            names = _fill(dataset, hidden, count)
            target = free_path(out)
            claim(hidden, target)
    return tuple(target / name for name in names)


def _fill(dataset: Dataset, folder: Path, count: int) -> list[str]:
    names, rows = [SHEET], []
    for number in range(count):
        draw, index = divmod(number, len(dataset))
        frames = dataset.frames(index, draw)
        item = dataset.items[index]
        name = f"{number + 1:02d}-{slug(Path(item.name).stem)}.gif"
        told = {"training_clip": {"video": item.name, "caption": item.caption, "key": item.key, "draw": draw}}
        write_gif(frames, FPS, folder / name, recipe_text(told))
        names.append(name)
        rows.append(_row(frames, f"{number + 1:02d} {item.name}: {item.caption or 'no caption'}"))
    _sheet(rows).save(folder / SHEET)
    return names


def _row(frames: Frames, text: str) -> Image.Image:
    """Evenly spaced frames of a clip, first and last among them, below a line of text."""
    height, width = frames.shape[1:3]
    shown = np.unique(np.linspace(0, len(frames) - 1, min(COLUMNS, len(frames))).round().astype(int))
    across = max(round(ROW * width / height), 1)
    row = Image.new("RGB", (across * len(shown), LINE + ROW), "white")
    ImageDraw.Draw(row).text((3, 2), text, "black", font=ImageFont.load_default(11))
    for column, index in enumerate(shown):
        row.paste(Image.fromarray(frames[index]).resize((across, ROW)), (column * across, LINE))
    return row


def _sheet(rows: Sequence[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    for number, row in enumerate(rows):
        sheet.paste(row, (0, sum(above.height for above in rows[:number])))
    return sheet
