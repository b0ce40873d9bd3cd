"""Preview training clips: GIFs and a contact sheet."""

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

#: default frame rate of `generate`
FPS = 8.0
SHEET = "sheet.png"
#: frames of each clip on the contact sheet, and heights in pixels
COLUMNS = 8
FRAME_HEIGHT = 112
LABEL_HEIGHT = 16


def preview(dataset: Dataset, out: Path, count: int = 8) -> tuple[Path, ...]:
    """Write `count` training clips to a new folder; return the contact sheet and one GIF per clip.

    Uses every video once before it uses a second variant of any. The folder is created atomically; if `out` exists,
    `out-2` is created. Raises `UsageError` if the folder cannot be written, `DecodeError`.
    """
    if count < 1:
        raise UsageError(f"cannot preview {count} clips", hint="use a number of at least 1")
    with readable_output_failures(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with hidden_sibling(out) as hidden:
            hidden.mkdir()
            names = _write_clips(dataset, hidden, count)
            target = free_path(out)
            claim(hidden, target)
    return tuple(target / name for name in names)


def _write_clips(dataset: Dataset, folder: Path, count: int) -> list[str]:
    names, rows = [SHEET], []
    for number in range(count):
        variant, index = divmod(number, len(dataset))
        frames = dataset.frames(index, variant)
        item = dataset.items[index]
        name = f"{number + 1:02d}-{slug(Path(item.name).stem)}.gif"
        metadata = {"training_clip": {"video": item.name, "caption": item.caption, "key": item.key, "draw": variant}}
        write_gif(frames, FPS, folder / name, recipe_text(metadata))
        names.append(name)
        rows.append(_row(frames, f"{number + 1:02d} {item.name}: {item.caption or 'no caption'}"))
    _sheet(rows).save(folder / SHEET)
    return names


def _row(frames: Frames, label: str) -> Image.Image:
    """Paste evenly spaced frames of a clip, including the first and the last, below a label."""
    height, width = frames.shape[1:3]
    shown = np.unique(np.linspace(0, len(frames) - 1, min(COLUMNS, len(frames))).round().astype(int))
    frame_width = max(round(FRAME_HEIGHT * width / height), 1)
    row = Image.new("RGB", (frame_width * len(shown), LABEL_HEIGHT + FRAME_HEIGHT), "white")
    ImageDraw.Draw(row).text((3, 2), label, "black", font=ImageFont.load_default(11))
    for column, index in enumerate(shown):
        thumbnail = Image.fromarray(frames[index]).resize((frame_width, FRAME_HEIGHT))
        row.paste(thumbnail, (column * frame_width, LABEL_HEIGHT))
    return row


def _sheet(rows: Sequence[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    for number, row in enumerate(rows):
        sheet.paste(row, (0, sum(above.height for above in rows[:number])))
    return sheet
