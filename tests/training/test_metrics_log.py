import sys

import pytest

from animdiff_cli.errors import UsageError
from animdiff_cli.training.metrics_log import (
    MetricsLog,
    StepMetrics,
    check_tensorboard,
    plot_losses,
    read_metrics,
    smoothed,
)
from animdiff_cli.training.optimizer import lr_factor


def test_losses_read_back_exactly(tmp_path):
    log = MetricsLog(tmp_path)
    rows = [StepMetrics(step, 0.1 / step, 1e-4) for step in range(1, 8)]
    for row in rows:
        log.append(row)
    assert read_metrics(tmp_path / "loss.csv") == rows  # before `close`: a kill loses no rows
    log.plot()
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_rows_of_repeated_steps_are_dropped(tmp_path):
    log = MetricsLog(tmp_path)
    for step in range(1, 8):
        log.append(StepMetrics(step, 0.5, 1e-4))
    log.close()
    with (tmp_path / "loss.csv").open("a") as file:
        file.write("8,0.2")  # truncated by a kill
    again = MetricsLog(tmp_path, resume_at=4)
    again.append(StepMetrics(5, 0.25, 1e-4))
    assert [(row.step, row.loss) for row in read_metrics(again.path)] == [
        (1, 0.5),
        (2, 0.5),
        (3, 0.5),
        (4, 0.5),
        (5, 0.25),
    ]


def test_event_files_without_tensorboard_are_refused_with_two_remedies(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # simulates that it is not installed
    with pytest.raises(UsageError, match="package tensorboard, which is not installed") as refused:
        check_tensorboard()
    assert "`pip install tensorboard`" in refused.value.hint and "loss.csv" in refused.value.hint


def test_the_plot_of_a_falling_loss_falls():
    image = plot_losses([StepMetrics(step, 1.0 / step, 1e-4) for step in range(1, 200)])
    dark = [
        [y for y in range(image.height) if image.getpixel((x, y)) == (30, 90, 170)] for x in (image.width // 4, 800)
    ]
    assert min(dark[0]) < min(dark[1])  # y grows downwards
    assert plot_losses([StepMetrics(1, 0.0, 1.0), StepMetrics(2, 0.0, 1.0)]).size == image.size


def test_smoothing_is_unbiased_at_the_start():
    values = smoothed([4.0] + [2.0] * 99)
    assert values[0] == 4.0
    assert values[-1] == pytest.approx(2.0, abs=0.05)


def test_the_learning_rate_warms_up_then_stays_or_decays_to_its_floor():
    constant = [lr_factor(step, 50, 5, "constant") for step in range(50)]
    assert constant[:5] == [0.2, 0.4, 0.6, 0.8, 1.0] and set(constant[4:]) == {1.0}
    cosine = [lr_factor(step, 50, 0, "cosine") for step in range(51)]
    assert cosine[0] == 1.0 and cosine[50] == pytest.approx(0.02)
    assert cosine == sorted(cosine, reverse=True)
