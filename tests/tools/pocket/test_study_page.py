"""docs/pocket-study.md is what the script makes of docs/pocket-study.json, whatever that says."""

import json
import re
from pathlib import Path

import pytest

from tools.pocket.report import Share
from tools.pocket.study.command import main
from tools.pocket.study.conditions import PARTS, all_conditions
from tools.pocket.study.figures import mean
from tools.pocket.study.formatting import ABSENT
from tools.pocket.study.page import page
from tools.pocket.study.publish import MEDIA, PAGE, REPORT
from tools.pocket.study.settings import SCALES

DOCS = Path(__file__).parents[3] / "docs"
NOTHING = {
    "scale": "full",
    "seeds": {"noise": 1},
    "readers": {},
    "trainings": {},
    "conditions": {},
    "through the autoencoder": {},
    "failures": {},
    "sheets": [],
}


def report(hits: int, of: int, value: float):
    """Report the same outcome everywhere."""
    some = mean([value] * of).as_json()
    share = Share(hits, of).as_json()
    means = (
        "style_kept",
        "watermark",
        "object_as_asked",
        "colour_as_asked",
        "place_as_asked",
        "text",
        "domain",
        "smooth",
    )
    camera = {"right": share, "followed": of, "median": {"pan": value, "tilt": 0.0, "roll": 0.0, "zoom": 1.0}}
    facts = {"settings": {}, "weights": {"model": {"unet": "0123456789abcdef"}}, "device": "cpu", "style": "base"}
    facts["settings"] = dict.fromkeys(
        ("steps", "guidance_scale", "scheduler", "width", "height", "num_frames", "dtype"), 1
    )
    figures = {**dict.fromkeys(means, some), "obeys": share, "constant": share, "camera": camera, **facts}
    names = [condition.name for condition in all_conditions(SCALES["full"])]
    return NOTHING | {"conditions": dict.fromkeys(names, figures)}


def test_the_page_is_made_of_the_report():
    text = json.loads((DOCS / REPORT).read_text(encoding="utf-8"))
    assert (DOCS / PAGE).read_text(encoding="utf-8") == page(text)


def test_the_pictures_it_shows_are_there_and_small():
    shown = re.findall(r"\]\((media/study/[^)]+)\)", (DOCS / PAGE).read_text(encoding="utf-8"))
    assert {Path(name).name for name in shown} == {file.name for file in (DOCS / MEDIA).iterdir()}
    assert sum((DOCS / name).stat().st_size for name in shown) <= 1_500_000


def test_a_report_of_nothing_makes_a_page_that_says_so():
    text = page(NOTHING)
    assert text.count(ABSENT) > 100
    assert "%" not in "".join(line for line in text.splitlines() if line.startswith("|") and "zoom %" not in line)


@pytest.mark.parametrize(("hits", "value"), [(0, 0.0), (24, 1.0)])
def test_prose_is_the_same_whatever_the_figures_are(hits, value):
    prose = [line for line in page(report(hits, 24, value)).splitlines() if not re.match(r"[|#`]|.*\d", line)]
    middling = [line for line in page(report(12, 24, 0.5)).splitlines() if not re.match(r"[|#`]|.*\d", line)]
    assert prose == middling


def test_figures_come_with_their_counts():
    text = page(report(18, 24, 0.5))
    assert "75 % of 24 (55 to 88)" in text
    assert "temporal convolution 72 of 96" in text
    assert "for 0 of 8 camera moves" in text
    assert "for 8 of 8 camera moves" in page(report(24, 24, 0.5))


def test_failures_are_listed():
    text = page(NOTHING | {"failures": {"motion-linear": "exit code 6: out of | memory"}})
    assert "| motion-linear | exit code 6: out of / memory |" in text
    assert "No training, render or measurement failed." not in text
    assert "No training, render or measurement failed." in page(NOTHING)


def test_what_was_not_run_is_told():
    whole = report(3, 4, 0.5)
    assert "Not rendered" not in page(whole)
    less = whole | {"conditions": {name: one for name, one in whole["conditions"].items() if name != "adapter-never"}}
    assert f"Not rendered, of {len(whole['conditions'])} conditions: `adapter-never`." in page(less)


def test_a_page_of_a_test_run_is_marked():
    assert "test run at scale `tiny`" in page(NOTHING | {"scale": "tiny"})
    assert "rehearsal" not in page(NOTHING)


def test_lines_of_prose_fit_the_page():
    long = [line for line in page(report(3, 4, 0.5)).splitlines() if len(line) > 120 and line[0] not in "|!"]
    assert long == []


def test_an_unknown_part_is_named(capsys):
    with pytest.raises(SystemExit) as refused:
        main(["--only", "dance"])
    assert refused.value.code == 2
    assert f"`dance` is none of {', '.join(PARTS)}" in capsys.readouterr().err
