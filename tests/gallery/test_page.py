"""The written page is complete, self-contained and atomic."""

import base64
import hashlib
import json
import re

import pytest
from PIL import Image

from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.gallery.page import script_json
from animdiff_cli.jobs.gallery import plan_gallery
from animdiff_cli.outputs import read_recipe
from tests.gallery.conftest import FORMATS, grey_clip


def records(page):
    """Return the clips of a page."""
    text = page.read_text("utf-8").partition('<script type="application/json" id="clips">')[2]
    return json.loads(text.partition("</script>")[0])


def test_every_format_is_shown_with_its_recipe(clip, gallery):
    for suffix in FORMATS:
        clip(f"{suffix[1:] or 'frames'}{suffix}", seed=7)
    written, notes = gallery()
    found = {record["format"]: record for record in records(written.page)}
    assert sorted(found) == sorted(FORMATS.values()) and notes == []
    for record in found.values():
        assert (record["frames"], record["width"], record["height"]) == (6, 32, 32)
        assert record["fps"] == pytest.approx(8, rel=0.01)
        assert record["settings"]["seed"] == 7
        assert json.loads(record["recipe"])["config"]["prompt"] == "a fox"


def test_the_page_holds_a_sheet_for_every_clip_and_loads_nothing(clip, gallery):
    for name in ("a.gif", "b.webp"):
        clip(name)
    text = gallery()[0].page.read_text("utf-8")
    sheets = re.findall(r'<script type="text/plain" id="sheet-(\d)">([A-Za-z0-9+/=]+)</script>', text)
    assert [number for number, _ in sheets] == ["0", "1"]
    assert all(base64.b64decode(content)[8:12] == b"WEBP" for _, content in sheets)
    assert not re.search(r"https?://|@import|url\(|<link|<iframe", text)
    assert not re.search(r"\beval\b|innerHTML|insertAdjacentHTML|document\.write", text)


def test_the_policy_allows_exactly_the_script_and_the_style(clip, gallery):
    clip("a.gif")
    text = gallery()[0].page.read_bytes().decode()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def test_the_recipe_of_the_page_renders_again(clip, gallery, tmp_path):
    path = clip("a.gif", prompt="fuchs 🦊 </script>", seed=2**64 - 1)
    (tmp_path / "recipe.json").write_text(records(gallery()[0].page)[0]["recipe"])
    assert read_recipe(tmp_path / "recipe.json") == read_recipe(path)


def test_text_cannot_end_a_script():
    text = script_json(["</script><!--", "\u2028\u2029", "\ud800"])
    assert text.isascii() and "<" not in text
    assert json.loads(text) == ["</script><!--", "\u2028\u2029", "\ud800"]


def test_folders_are_searched_with_the_folders_in_them(clip, gallery, tmp_path):
    clip("b/10.gif")
    clip("b/9.gif")
    clip("top.gif")
    clip("frames/one")
    clip(".hidden/no.gif")
    (tmp_path / "clips" / "loop").symlink_to(tmp_path / "clips")
    written, _ = gallery()
    folder = tmp_path / "clips"
    expected = ["top.gif", "b/9.gif", "b/10.gif", "frames/one"]
    assert [record["path"] for record in records(written.page)] == [str(folder / name) for name in expected]


def test_clips_without_a_recipe_are_shown_and_named(clip, gallery, tmp_path):
    clip("a.gif")
    Image.fromarray(grey_clip()[0]).save(tmp_path / "clips" / "plain.gif")
    written, notes = gallery()
    assert [record["problem"] for record in records(written.page)] == [None, "no recipe"]
    assert records(written.page)[1]["command"] is None
    assert notes == [f"1 clip without a recipe: {tmp_path / 'clips' / 'plain.gif'}"]
    assert written.record()["without_recipe"] == [str(tmp_path / "clips" / "plain.gif")]


def test_a_still_with_a_recipe_is_shown_and_other_images_are_not(clip, gallery, tmp_path):
    clip("one.webp", grey_clip(1))
    Image.fromarray(grey_clip()[0]).save(tmp_path / "clips" / "photo.png")
    assert [record["name"] for record in records(gallery()[0].page)] == ["one.webp"]


def test_damaged_clips_are_left_out_and_named(clip, gallery, tmp_path):
    for name in ("cut.gif", "cut.webp", "cut.mp4"):
        whole = clip(name).read_bytes()
        (tmp_path / "clips" / name).write_bytes(whole[: len(whole) // 2 if name != "cut.mp4" else 40])
    clip("a.gif")
    written, notes = gallery()
    assert [record["name"] for record in records(written.page)] == ["a.gif"]
    assert {note.partition("`")[2].partition("`")[0] for note in notes} == {
        str(tmp_path / "clips" / name) for name in ("cut.gif", "cut.webp", "cut.mp4")
    }
    assert all(note.startswith("left out: ") for note in notes)


def test_only_damaged_clips_are_an_error_and_write_nothing(gallery, tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.gif").write_bytes(b"GIF89a")
    with pytest.raises(UsageError, match="none of 1 clip can be read"):
        gallery()
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]


def test_a_large_page_recommends_links(clip, gallery, monkeypatch):
    monkeypatch.setattr("animdiff_cli.jobs.gallery.LARGE_PAGE", 1000)
    clip("a.gif")
    assert "--link" in gallery()[1][0]


def test_an_oversized_recipe_is_left_out(clip, gallery):
    clip("a.gif", recipe={"config": {"prompt": "x" * 300_000}})
    (record,) = records(gallery()[0].page)
    assert record["recipe"] is None and "256 KiB" in record["problem"]


@pytest.mark.parametrize("fps", [0, -1, "8", True, 1e308, None])
def test_a_wrong_rate_in_a_recipe_is_not_used(clip, gallery, fps):
    clip("frames", fps=8, recipe={"config": {"fps": fps}})
    assert records(gallery()[0].page)[0]["fps"] == 8


def test_linked_sheets_lie_beside_the_page(clip, gallery, tmp_path):
    path = clip("javascript:alert(1)#?.gif")
    written, _ = gallery(link=True)
    (record,) = records(written.page)
    assert record["source"] == "./page_files/00000.webp"
    assert Image.open(tmp_path / record["source"]).size == (64, 96)
    assert record["address"] == "./clips/javascript%3Aalert%281%29%23%3F.gif"
    assert path.exists() and "sheet-0" not in written.page.read_text("utf-8")
    gallery(link=True, overwrite=True)
    assert [file.name for file in (tmp_path / "page_files").iterdir()] == ["00000.webp"]


def test_a_folder_with_other_files_is_not_replaced(clip, gallery, tmp_path):
    clip("a.gif")
    (tmp_path / "page_files").mkdir()
    (tmp_path / "page_files" / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UsageError):
            gallery(link=True, overwrite=overwrite)
    assert (tmp_path / "page_files" / "mine.txt").exists()


def test_an_existing_page_is_replaced_only_when_asked(clip, gallery, tmp_path):
    clip("a.gif")
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(UsageError, match="exists") as refusal:
        gallery()
    assert "--overwrite" in refusal.value.hint
    assert (tmp_path / "page.html").read_text() == "mine"
    gallery(overwrite=True)
    assert "a fox" in (tmp_path / "page.html").read_text()


def test_bad_input_is_refused_before_a_clip_is_read(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(NotFound, match="no clip"):
        plan_gallery([tmp_path / "missing.gif"], tmp_path / "page.html")
    for name in ("empty", "notes.txt"):
        with pytest.raises(UsageError):
            plan_gallery([tmp_path / name], tmp_path / "page.html")


def line(job, state, path=None, **more):
    """Return one line of a manifest."""
    outputs = {"outputs": {"gif": {"path": path, "sha256": "0" * 64, "bytes": 1}}} if path else {}
    record = {"version": 1, "time": "2026-01-01T00:00:00.000+00:00", "job": job, "state": state, "name": "night.yaml:1"}
    return json.dumps(record | {"config": {}} | outputs | more) + "\n"


def test_a_manifest_gives_the_clips_of_its_finished_jobs(clip, gallery, tmp_path):
    for name in ("a.gif", "b/b.gif", "unlisted.gif"):
        clip(name)
    clip("../outside.gif")
    manifest = tmp_path / "clips" / "manifest.jsonl"
    jobs = [line("1", "started"), line("1", "done", "a.gif"), line("2", "done", "b/b.gif"), line("3", "failed")]
    jobs += [line("4", "done", "../outside.gif"), line("5", "done", str(tmp_path / "outside.gif"))]
    jobs += [line("6", "done", "deleted.gif"), line("7", "started"), "{torn"]
    manifest.write_text("".join(jobs))
    written, notes = gallery(manifest)
    assert [record["path"] for record in records(written.page)] == [
        str(tmp_path / "clips" / name) for name in ("a.gif", "b/b.gif")
    ]
    assert any("incomplete" in note for note in notes)
    assert f"2 jobs of `{manifest}` without a clip: 1 failed, 1 started" in notes
    assert any(note.startswith("3 clips") and "outside.gif" in note and "deleted.gif" in note for note in notes)


def test_a_manifest_without_clips_is_refused(tmp_path):
    (tmp_path / "manifest.jsonl").write_text(line("1", "failed"))
    with pytest.raises(UsageError, match="no finished clip"):
        plan_gallery([tmp_path / "manifest.jsonl"], tmp_path / "page.html")
    with pytest.raises(NotFound, match="no manifest"):
        plan_gallery([tmp_path / "gone.jsonl"], tmp_path / "page.html")
