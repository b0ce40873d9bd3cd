"""The chart of `--context-show`."""

import pytest

from animdiff_cli.core.window_chart import PLAIN, draw_windows
from animdiff_cli.core.windows import Windows


def test_a_column_is_a_frame_and_a_shade_is_its_share():
    assert draw_windows(Windows(8, 4, 2), 25, 80, PLAIN) == [
        "every step: 3 windows",
        "##+:      0-3",
        "  :++:    2-5",
        "    :+##  4-7",
    ]


def test_windows_of_a_loop_wrap():
    lines = draw_windows(Windows(8, 4, 1, schedule="looped", fuse="flat"), 2, 80, PLAIN)
    assert lines[0].startswith("step 1 of 2: ")
    assert any(line.endswith("6-7, 0-1") and line.startswith((".", ":", "+", "#")) for line in lines)


@pytest.mark.parametrize("columns", [40, 80, 132])
@pytest.mark.parametrize("schedule", ["static", "uniform", "looped", "batched"])
def test_no_line_is_wider_than_the_terminal(columns, schedule):
    overlap = 0 if schedule == "batched" else 4
    for line in draw_windows(Windows(4096, 16, overlap, 3, schedule), 25, columns):
        assert len(line) <= columns


def test_every_frame_is_in_some_line():
    lines = [line for line in draw_windows(Windows(50, 16, 4), 25, 80, PLAIN) if ": " not in line[:12]]
    assert all(any(len(line) > column and line[column] in PLAIN for line in lines) for column in range(50))
