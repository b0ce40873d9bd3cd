import sys

import pytest

from animdiff_cli.errors import UsageError
from animdiff_cli.training.journal import Journal, Row, check_tensorboard, draw_curve, read_rows, smoothed
from animdiff_cli.training.optimizer import lr_factor


def test_losses_read_back_to_the_last_bit(tmp_path):
    journal = Journal(tmp_path)
    rows = [Row(step, 0.1 / step, 1e-4) for step in range(1, 8)]
    for row in rows:
        journal.append(row)
    assert read_rows(tmp_path / "loss.csv") == rows  # before it is closed: a kill loses nothing
    journal.draw()
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_rows_of_steps_that_will_be_taken_again_are_dropped(tmp_path):
    journal = Journal(tmp_path)
    for step in range(1, 8):
        journal.append(Row(step, 0.5, 1e-4))
    journal.close()
    with (tmp_path / "loss.csv").open("a") as file:
        file.write("8,0.2")  # cut short by a kill
    again = Journal(tmp_path, resume_at=4)
    again.append(Row(5, 0.25, 1e-4))
    assert [(row.step, row.loss) for row in read_rows(again.path)] == [
        (1, 0.5),
        (2, 0.5),
        (3, 0.5),
        (4, 0.5),
        (5, 0.25),
    ]


def test_without_tensorboard_event_files_are_refused_with_two_ways_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    with pytest.raises(UsageError, match="package tensorboard, which is not installed") as refused:
        check_tensorboard()
    assert "`pip install tensorboard`" in refused.value.hint and "loss.csv" in refused.value.hint


def test_the_curve_shows_a_falling_loss_falling():
    image = draw_curve([Row(step, 1.0 / step, 1e-4) for step in range(1, 200)])
    dark = [
        [y for y in range(image.height) if image.getpixel((x, y)) == (30, 90, 170)] for x in (image.width // 4, 800)
    ]
    assert min(dark[0]) < min(dark[1])  # pictures count downwards
    assert draw_curve([Row(1, 0.0, 1.0), Row(2, 0.0, 1.0)]).size == image.size


def test_smoothing_has_no_bias_at_the_start():
    values = smoothed([4.0] + [2.0] * 99)
    assert values[0] == 4.0
    assert values[-1] == pytest.approx(2.0, abs=0.05)


def test_the_learning_rate_rises_then_stays_or_falls_to_its_floor():
    constant = [lr_factor(step, 50, 5, "constant") for step in range(50)]
    assert constant[:5] == [0.2, 0.4, 0.6, 0.8, 1.0] and set(constant[4:]) == {1.0}
    cosine = [lr_factor(step, 50, 0, "cosine") for step in range(51)]
    assert cosine[0] == 1.0 and cosine[50] == pytest.approx(0.02)
    assert cosine == sorted(cosine, reverse=True)
