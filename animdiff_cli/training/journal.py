"""What a run leaves behind about itself: losses as CSV, as a curve, and for TensorBoard."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from animdiff_cli.errors import UsageError
from animdiff_cli.files.atomic import atomic_write, atomic_write_text
from animdiff_cli.files.os_errors import readable_output_failures

HEADER = ("step", "loss", "lr")
SIZE, MARGIN = (960, 480), 56
RAW, SMOOTH, AXIS = (196, 210, 228), (30, 90, 170), (90, 90, 90)


@dataclass(frozen=True, slots=True)
class Row:
    """One optimiser step."""

    step: int
    loss: float
    lr: float


class Journal:
    """Appends one row per step. Rows after the step a run resumes at belong to steps that will be taken again."""

    def __init__(self, folder: Path, *, resume_at: int = 0, tensorboard: bool = False) -> None:
        self.path = folder / "loss.csv"
        folder.mkdir(parents=True, exist_ok=True)
        self.rows = [row for row in read_rows(self.path) if row.step <= resume_at]
        _write_text(self.path, _as_csv(self.rows))
        self._file = self.path.open("a", encoding="utf-8", newline="")
        self._board: Any = _board(folder / "tensorboard", resume_at + 1) if tensorboard else None

    def append(self, row: Row) -> None:
        """Write down one step; it is on disk when this returns."""
        self.rows.append(row)
        self._file.write(_as_csv([row], header=False))
        self._file.flush()
        if self._board:
            self._board.add_scalar("loss", row.loss, row.step)
            self._board.add_scalar("lr", row.lr, row.step)
            self._board.flush()

    def draw(self) -> None:
        """Draw the curve beside the CSV."""
        if len(self.rows) > 1:
            path = self.path.with_suffix(".png")
            with readable_output_failures(path, "-o"), atomic_write(path) as hidden:
                draw_curve(self.rows).save(hidden, format="PNG")

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board:
            self._board.close()


def read_rows(path: Path) -> list[Row]:
    """Read a journal; a last line cut short by a kill is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        try:
            step, loss, lr = line.split(",")
            rows.append(Row(int(step), float(loss), float(lr)))
        except ValueError:
            break
    return rows


def smoothed(losses: Sequence[float]) -> list[float]:
    """Follow the losses with a moving average over about a twentieth of them, without a bias at the start.

    >>> smoothed([2.0, 2.0, 2.0])
    [2.0, 2.0, 2.0]
    """
    decay = 1 - 1 / max(1, len(losses) / 20)
    average = weight = 0.0
    values = []
    for loss in losses:
        average, weight = decay * average + (1 - decay) * loss, decay * weight + (1 - decay)
        values.append(average / weight)
    return values


def draw_curve(rows: Sequence[Row]) -> Image.Image:
    """Draw losses over steps, raw and smoothed. At least two rows."""
    image = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(image)
    losses = [row.loss for row in rows]
    low, high = 0.0, max(sorted(losses)[int(0.99 * (len(losses) - 1))], 1e-9) * 1.05
    first, last = rows[0].step, rows[-1].step

    def point(step: int, loss: float) -> tuple[float, float]:
        x = MARGIN + (SIZE[0] - 2 * MARGIN) * (step - first) / max(last - first, 1)
        y = SIZE[1] - MARGIN - (SIZE[1] - 2 * MARGIN) * (min(loss, high) - low) / (high - low)
        return x, y

    pen.line([point(first, high), point(first, low), point(last, low)], fill=AXIS)
    for values, colour, width in ((losses, RAW, 1), (smoothed(losses), SMOOTH, 2)):
        points = [point(row.step, loss) for row, loss in zip(rows, values, strict=True)]
        for start, end in pairwise(points):
            pen.line([start, end], fill=colour, width=width)
    for fraction in (0, 0.5, 1):
        pen.text((6, point(first, high * fraction)[1] - 6), f"{high * fraction:.4f}", fill=AXIS)
        step = round(first + (last - first) * fraction)
        pen.text((point(step, low)[0] - 12, SIZE[1] - MARGIN + 8), str(step), fill=AXIS)
    pen.text((MARGIN, 16), f"loss per step; smoothed {smoothed(losses)[-1]:.4f} at step {last}", fill=AXIS)
    return image


def _as_csv(rows: Sequence[Row], *, header: bool = True) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(HEADER)
    # repr of a float reads back as the same float: a resumed run can be compared to the last bit
    writer.writerows((row.step, repr(row.loss), repr(row.lr)) for row in rows)
    return text.getvalue()


def _write_text(path: Path, text: str) -> None:
    with readable_output_failures(path, "-o"):
        atomic_write_text(path, text)


def check_tensorboard() -> None:
    """Raise `UsageError` where event files cannot be written."""
    if find_spec("tensorboard") is None:
        raise UsageError(
            "event files need the package tensorboard, which is not installed",
            hint="`pip install tensorboard`, or leave `--tensorboard` out: losses are in loss.csv too",
        )


def _board(folder: Path, first_step: int) -> Any:
    """Open a new event file; what older ones in the folder say of `first_step` and later no longer counts."""
    check_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=first_step)
