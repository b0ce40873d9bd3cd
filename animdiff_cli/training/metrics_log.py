"""Log loss and learning rate of each step as CSV, as a plot, and for TensorBoard."""

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
class StepMetrics:
    """Metrics of one optimizer step."""

    step: int
    loss: float
    lr: float


class MetricsLog:
    """Append one row per step. Rows after `resume_at` are dropped, because a resumed run repeats those steps."""

    def __init__(self, folder: Path, *, resume_at: int = 0, tensorboard: bool = False) -> None:
        self.path = folder / "loss.csv"
        self.rows = [row for row in read_metrics(self.path) if row.step <= resume_at]
        with readable_output_failures(self.path, "-o"):
            atomic_write_text(self.path, _to_csv(self.rows))
            self._file = self.path.open("a", encoding="utf-8", newline="")
        self._tensorboard: Any = _summary_writer(folder / "tensorboard", resume_at + 1) if tensorboard else None

    def append(self, row: StepMetrics) -> None:
        """Write one step and flush it."""
        self.rows.append(row)
        self._file.write(_to_csv([row], header=False))
        self._file.flush()
        if self._tensorboard:
            self._tensorboard.add_scalar("loss", row.loss, row.step)
            self._tensorboard.add_scalar("lr", row.lr, row.step)
            self._tensorboard.flush()

    def plot(self) -> None:
        """Write the loss curve beside the CSV file."""
        if len(self.rows) > 1:
            path = self.path.with_suffix(".png")
            with readable_output_failures(path, "-o"), atomic_write(path) as hidden:
                plot_losses(self.rows).save(hidden, format="PNG")

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._tensorboard:
            self._tensorboard.close()


def read_metrics(path: Path) -> list[StepMetrics]:
    """Read a CSV log. Ignores a last line that was truncated by a kill."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        try:
            step, loss, lr = line.split(",")
            rows.append(StepMetrics(int(step), float(loss), float(lr)))
        except ValueError:
            break
    return rows


def smoothed(losses: Sequence[float]) -> list[float]:
    """Return the bias-corrected exponential moving average over about a twentieth of the losses.

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


def plot_losses(rows: Sequence[StepMetrics]) -> Image.Image:
    """Plot losses over steps, raw and smoothed. Needs at least two rows."""
    image = Image.new("RGB", SIZE, "white")
    canvas = ImageDraw.Draw(image)
    losses = [row.loss for row in rows]
    low, high = 0.0, max(sorted(losses)[int(0.99 * (len(losses) - 1))], 1e-9) * 1.05
    first, last = rows[0].step, rows[-1].step

    def point(step: int, loss: float) -> tuple[float, float]:
        x = MARGIN + (SIZE[0] - 2 * MARGIN) * (step - first) / max(last - first, 1)
        y = SIZE[1] - MARGIN - (SIZE[1] - 2 * MARGIN) * (min(loss, high) - low) / (high - low)
        return x, y

    canvas.line([point(first, high), point(first, low), point(last, low)], fill=AXIS)
    for values, color, width in ((losses, RAW, 1), (smoothed(losses), SMOOTH, 2)):
        points = [point(row.step, loss) for row, loss in zip(rows, values, strict=True)]
        for start, end in pairwise(points):
            canvas.line([start, end], fill=color, width=width)
    for fraction in (0, 0.5, 1):
        canvas.text((6, point(first, high * fraction)[1] - 6), f"{high * fraction:.4f}", fill=AXIS)
        step = round(first + (last - first) * fraction)
        canvas.text((point(step, low)[0] - 12, SIZE[1] - MARGIN + 8), str(step), fill=AXIS)
    canvas.text((MARGIN, 16), f"loss per step; smoothed {smoothed(losses)[-1]:.4f} at step {last}", fill=AXIS)
    return image


def check_tensorboard() -> None:
    """Raise `UsageError` if tensorboard is not installed."""
    if find_spec("tensorboard") is None:
        raise UsageError(
            "event files need the package tensorboard, which is not installed",
            hint="`pip install tensorboard`, or leave out `--tensorboard`: losses are in loss.csv too",
        )


def _to_csv(rows: Sequence[StepMetrics], *, header: bool = True) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(HEADER)
    # the repr of a float reads back as the same float, so that resumed runs can be compared exactly
    writer.writerows((row.step, repr(row.loss), repr(row.lr)) for row in rows)
    return text.getvalue()


def _summary_writer(folder: Path, first_step: int) -> Any:
    """Open a new event file that replaces `first_step` and later steps of older ones."""
    check_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=first_step)
