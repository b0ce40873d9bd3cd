"""Results as JSON and text, and a definition in the docs for every metric."""

import json
import math
from pathlib import Path

import pytest

from animdiff_cli.cli.evaluate import table
from animdiff_cli.metrics.camera import CameraMotion
from animdiff_cli.metrics.results import METRICS, ClipResult, computed_metrics, format_value, mean_values

DEFINITIONS = Path(__file__).parents[2] / "docs" / "concepts" / "metrics.md"


def result(name, camera=None, **values):
    return ClipResult(Path(name), "a fox", 16, 64, 48, 8.0, values, camera, (1.0, 2.0))


def test_the_mean_skips_missing_and_infinite_values():
    clips = [result("a.gif", warp=1.0, psnr=math.inf), result("b.gif", warp=3.0, psnr=30.0), result("c.gif")]
    assert mean_values(clips) == {"warp": 2.0, "psnr": 30.0}
    assert mean_values([result("a.gif", warp=None)]) == {"warp": None}


def test_columns_follow_the_order_of_the_metric_table():
    clips = [result("a.gif", seam=1.0, text=30.0, change=2.0)]
    assert [metric.key for metric in computed_metrics(clips)] == ["text", "seam"]
    assert [metric.key for metric in computed_metrics(clips, details=True)] == ["text", "change", "seam"]


def test_values_are_formatted_as_text():
    assert format_value("text", 31.394) == "31.39"
    assert format_value("ssim", 0.98765) == "0.9877"
    assert format_value("psnr", math.inf) == "∞"
    assert format_value("warp", None) == "–"


def test_a_record_is_valid_json():
    camera = CameraMotion(3.0, -4.0, 0.5, 1.01, 0.9, 64)
    record = json.loads(json.dumps(result("a.gif", camera, psnr=math.inf, ssim=1.0).record(), allow_nan=False))
    assert record["measures"] == {"psnr": None, "ssim": 1.0}
    assert record["camera"]["words"] == "pan right 3.0 px, tilt down 4.0 px, zoom in 1.0 %, roll cw 0.5°"
    assert record["camera"]["speed_share_of_width"] == 5 / 64


def test_the_table_shows_directions_units_and_the_mean():
    still = CameraMotion(0, 0, 0, 1, 1, 64)
    lines = table([result("x/a.gif", still, text=31.0, warp=1.0), result("x/b.gif", None, text=33.0, warp=None)])
    assert lines == [
        "clip    text ↑  warp ↓  camera",
        "       100·cos    10⁻³  per frame",
        "a.gif    31.00    1.00  still",
        "b.gif    33.00       –  –",
        "mean     32.00    1.00",
    ]


def test_clips_with_the_same_name_are_shown_with_their_folders():
    lines = table([result("x/a.gif", seam=1.0), result("y/a.gif", seam=1.0)])
    assert [line.split()[0] for line in lines[2:4]] == ["x/a.gif", "y/a.gif"]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.key)
def test_every_metric_is_defined_in_the_docs(metric):
    head = f"### `{metric.key}` {metric.better} ({metric.unit})"
    assert head in DEFINITIONS.read_text(encoding="utf-8")
