"""Draw context windows as text: one line per window, the frames of the clip from left to right."""

from collections.abc import Sequence
from itertools import pairwise

from animdiff_cli.core.windows import WeightedWindow, Window, Windows

#: from a small share of a frame to all of it
BLOCKS, PLAIN = "░▒▓█", ".:+#"
MAX_STEPS = 4  # of a schedule that differs by step
MAX_LINES = 64  # of a step


def draw_windows(windows: Windows, num_steps: int, columns: int, shades: str = BLOCKS) -> list[str]:
    """Draw the windows of the first steps in lines of at most `columns` characters.

    A shade is the share of the window in the prediction of a frame. A schedule that is the same at every step is drawn
    once.
    """
    steps = [windows.at(step, num_steps) for step in range(min(num_steps, MAX_STEPS))]
    is_same = all(step == steps[0] for step in steps)
    labels = {window.frames: frames_label(window.frames) for step in steps for window in step}
    chart = min(windows.num_frames, columns - max(map(len, labels.values())) - 2)
    lines = []
    for number, step in enumerate(steps[:1] if is_same else steps, start=1):
        which = "every step" if is_same else f"step {number} of {num_steps}"
        lines.append(f"{which}: {len(step)} windows")
        for window in step[:MAX_LINES]:
            lines.append(f"{_bar(window, windows.num_frames, chart, shades)}  {labels[window.frames]}".rstrip())
        if len(step) > MAX_LINES:
            lines.append(f"and {len(step) - MAX_LINES} more")
    if not is_same and num_steps > len(steps):
        lines.append(f"and {num_steps - len(steps)} more steps")
    return lines


def frames_label(frames: Window) -> str:
    """Describe the frames of a window.

    >>> frames_label((0, 1, 2)), frames_label((6, 7, 0, 1)), frames_label((0, 2, 4))
    ('0-2', '6-7, 0-1', '0-4 by 2')
    """
    gap = min((after - before for before, after in pairwise(frames) if after > before), default=1)
    runs = [[frames[0]]]
    for before, after in pairwise(frames):
        if after - before == gap:
            runs[-1].append(after)
        else:
            runs.append([after])
    text = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
    return f"{text} by {gap}" if gap > 1 else text


def _bar(window: WeightedWindow, num_frames: int, columns: int, shades: Sequence[str]) -> str:
    """Draw one window. A column stands for one frame, or for the mean of the several frames it covers."""
    share = dict(zip(window.frames, window.shares, strict=True))
    cells = []
    for column in range(columns):
        first, end = column * num_frames // columns, (column + 1) * num_frames // columns
        covered = [share[frame] for frame in range(first, end) if frame in share]
        mean = sum(covered) / len(covered) if covered else 0
        cells.append(shades[min(int(mean * len(shades)), len(shades) - 1)] if covered else " ")
    return "".join(cells)
