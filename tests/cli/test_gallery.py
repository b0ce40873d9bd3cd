"""The `animdiff gallery` command."""

import json

import numpy as np
import pytest

from animdiff_cli.outputs import write_clip


@pytest.fixture
def night(here):
    """A folder with a clip, one without a recipe, and a damaged one."""
    frames = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.full((3, 16, 16, 3), 80, np.uint8)
    clip = write_clip(frames, 8, here / "night" / "fox.gif", "gif", {"config": {"prompt": "a fox", "seed": 1}})
    (here / "night" / "plain.gif").write_bytes(clip.read_bytes().replace(b'"animdiff"', b'"somebody"'))
    (here / "night" / "cut.gif").write_bytes(clip.read_bytes()[:300])
    return here


def test_the_path_goes_to_stdout_and_the_rest_to_stderr(animdiff, night):
    result = animdiff("gallery", "night", "-o", "page.html")
    assert (result.exit_code, result.stdout) == (0, "page.html\n")
    left_out, *rest = result.stderr.splitlines()
    assert left_out.startswith("note: left out: ") and "night/cut.gif" in left_out
    assert rest == [
        "prepared 3 clips",
        "writing page.html",
        "note: 1 clip without a recipe: night/plain.gif",
    ]
    assert "animdiff generate --from night/fox.gif" in (night / "page.html").read_text()


def test_json_names_what_is_missing(animdiff, night):
    result = animdiff("gallery", "night", "--json", "-q")
    record = json.loads(result.stdout)
    assert (record["page"], record["clips"], record["without_recipe"]) == ("gallery.html", 2, ["night/plain.gif"])
    assert list(record["left_out"]) == ["night/cut.gif"]
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["gone"], 3, "no clip `gone`"),
        (["gone.jsonl"], 3, "no manifest"),
        (["night/cut.gif"], 2, "none of 1 clip can be read"),
        (["night", "-o", "night/fox.gif/page.html"], 2, "is a file, not a folder"),
        (["night", "-o", "taken.html"], 2, "taken.html exists"),
        (["night", "--size", "2000"], 2, "--size"),
        ([], 2, "missing"),
    ],
)
def test_bad_input_writes_nothing(animdiff, night, words, code, reason):
    (night / "taken.html").write_text("mine")
    before = sorted(night.rglob("*"))
    result = animdiff("gallery", *words)
    assert result.exit_code == code and reason.lower() in result.stderr.lower(), result.stderr
    assert sorted(night.rglob("*")) == before and (night / "taken.html").read_text() == "mine"
