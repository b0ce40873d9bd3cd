"""The HTML report is valid, self-contained and safe."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.evaluate import evaluate
from animdiff_cli.metrics.report import report_path, write_report
from animdiff_cli.outputs import write_clip

#: elements that have no end
VOID = {"meta", "img", "rect"}


class Nesting(HTMLParser):
    """Checks that elements are nested correctly."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path, filmed):
    """Write a report of clips in several formats and parse it; returns its text and elements."""

    def build(*names, prompt='a <b>fox</b> & "hen"'):
        clip = filmed(4, size=64, right=1)
        formats = {".gif": "gif", ".mp4": "mp4", ".webp": "webp", "": "frames"}
        paths = [
            write_clip(clip, 8, tmp_path / name, formats[Path(name).suffix], {"config": {"prompt": prompt, "fps": 8}})
            for name in names
        ]
        found = evaluate(paths)
        text = write_report(found.clips, found.notes, tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        parsed = Nesting()
        parsed.feed(text)
        assert parsed.open == []
        return text, parsed.seen

    return build


def test_the_report_is_self_contained(page):
    text, elements = page("a.gif", "b.mp4", "c.webp", "frames")
    sources = [attrs["src"] for _, attrs in elements if "src" in attrs]
    assert len(sources) == 4
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"https?://|@import|url\(", text)
    assert not [tag for tag, _ in elements if tag in ("script", "link", "iframe")]


def test_each_clip_plays_beside_its_metrics(page):
    text, elements = page("a.gif", "b.mp4")
    tags = [tag for tag, _ in elements]
    assert tags.count("article") == 2
    assert tags.count("img") == tags.count("video") == 1
    assert text.count("pan left 1.0 px") == 4, "in the overview and in the card"
    assert "4 frames of 64×64, 8 fps" in text


def test_prompts_are_escaped(page):
    text, elements = page("a.gif")
    assert "a &lt;b&gt;fox&lt;/b&gt; &amp; &quot;hen&quot;" in text
    assert "b" not in [tag for tag, _ in elements]


def test_the_report_supports_light_and_dark_mode(page):
    text, _ = page("a.gif")
    assert "prefers-color-scheme: dark" in text


def test_a_folder_gets_report_html(tmp_path):
    assert report_path(tmp_path / "x") == tmp_path / "x" / "report.html"
    assert report_path(tmp_path / "x" / "mine.html") == tmp_path / "x" / "mine.html"


def test_an_existing_report_is_not_overwritten(tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(UsageError, match="exists") as refusal:
        report_path(tmp_path)
    assert "--overwrite" in refusal.value.hint
    assert report_path(tmp_path, overwrite=True) == tmp_path / "report.html"


def test_an_unwritable_path_is_reported_with_its_flag(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write") as refusal:
        write_report([], [], tmp_path / "file" / "report.html")
    assert "--report" in refusal.value.hint
