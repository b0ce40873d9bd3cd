"""How figures are told, and that the page of definitions tells of all of them."""

import json
import math
from pathlib import Path

import pytest

from animdiff_cli.cli.evaluate import table
from animdiff_cli.metrics.camera import CameraMotion
from animdiff_cli.metrics.figures import ClipFigures, columns, mean_values, told
from animdiff_cli.metrics.measures import MEASURES

DEFINITIONS = Path(__file__).parents[2] / "docs" / "concepts" / "metrics.md"


def figures(name, camera=None, **values):
    return ClipFigures(Path(name), "a fox", 16, 64, 48, 8.0, values, camera, (1.0, 2.0))


def test_the_mean_leaves_out_what_could_not_be_measured():
    clips = [figures("a.gif", warp=1.0, psnr=math.inf), figures("b.gif", warp=3.0, psnr=30.0), figures("c.gif")]
    assert mean_values(clips) == {"warp": 2.0, "psnr": 30.0}
    assert mean_values([figures("a.gif", warp=None)]) == {"warp": None}


def test_columns_keep_the_order_of_the_table_of_measures():
    clips = [figures("a.gif", seam=1.0, text=30.0, change=2.0)]
    assert [measure.key for measure in columns(clips)] == ["text", "seam"]
    assert [measure.key for measure in columns(clips, details=True)] == ["text", "change", "seam"]


def test_figures_are_words():
    assert told("text", 31.394) == "31.39"
    assert told("ssim", 0.98765) == "0.9877"
    assert told("psnr", math.inf) == "∞"
    assert told("warp", None) == "–"


def test_a_record_is_json_that_any_reader_takes():
    camera = CameraMotion(3.0, -4.0, 0.5, 1.01, 0.9, 64)
    record = json.loads(json.dumps(figures("a.gif", camera, psnr=math.inf, ssim=1.0).record(), allow_nan=False))
    assert record["measures"] == {"psnr": None, "ssim": 1.0}
    assert record["camera"]["words"] == "pan right 3.0 px, tilt down 4.0 px, zoom in 1.0 %, roll cw 0.5°"
    assert record["camera"]["speed_share_of_width"] == 5 / 64


def test_the_table_has_directions_units_and_a_mean():
    still = CameraMotion(0, 0, 0, 1, 1, 64)
    lines = table([figures("x/a.gif", still, text=31.0, warp=1.0), figures("x/b.gif", None, text=33.0, warp=None)])
    assert lines == [
        "clip    text ↑  warp ↓  camera",
        "       100·cos    10⁻³  per frame",
        "a.gif    31.00    1.00  still",
        "b.gif    33.00       –  –",
        "mean     32.00    1.00",
    ]


def test_clips_of_one_name_are_told_apart_by_their_folders():
    lines = table([figures("x/a.gif", seam=1.0), figures("y/a.gif", seam=1.0)])
    assert [line.split()[0] for line in lines[2:4]] == ["x/a.gif", "y/a.gif"]


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.key)
def test_every_measure_is_defined_in_the_docs(measure):
    head = f"### `{measure.key}` {measure.better} ({measure.unit})"
    assert head in DEFINITIONS.read_text(encoding="utf-8")
