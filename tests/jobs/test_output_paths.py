import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.output_paths import choose_output_paths
from animdiff_cli.storage.location import location
from animdiff_cli.storage.objects import upload


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.delenv("ANIMDIFF_OUTPUT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def clip(prompt="a fox", seed=7, **settings):
    return GenerateConfig(prompt=prompt, seed=seed, model="toonyou", **settings)


def names(output, *formats, clips=(), overwrite=False):
    targets = choose_output_paths(clips or [clip()], output, formats, overwrite=overwrite)
    return [path.as_posix() for files in targets.files for path in files.values()]


def test_without_a_name_clips_go_to_the_output_folder_with_date_words_and_seed():
    (name,) = names(None)
    assert re.fullmatch(r"animdiff-out/\d{8}_a-fox_7\.gif", name)


def test_the_output_folder_may_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ANIMDIFF_OUTPUT", str(tmp_path / "{my} clips"))
    assert names(None)[0].startswith(f"{tmp_path}/{{my}} clips/")


@pytest.mark.parametrize("folder", ["night/", "there", "./there", "../", "{not-a-field}/"])
def test_a_folder_keeps_the_usual_name(folder, here):
    (here / "there").mkdir()
    (name,) = names(folder)
    assert Path(name).parent == Path(folder)
    assert name.endswith("_a-fox_7.gif")


@pytest.mark.parametrize(
    ("output", "formats", "expected"),
    [
        ("fox.gif", [], ["fox.gif"]),
        ("fox", [], ["fox.gif"]),
        ("fox", ["frames"], ["fox"]),
        ("fox.GIF", [], ["fox.GIF"]),
        ("fox.apng", [], ["fox.apng"]),
        ("fox.png", [], ["fox.png"]),
        ("../fox.mp4", [], ["../fox.mp4"]),
        ("/tmp/fox.webm", [], ["/tmp/fox.webm"]),
        ("fox.mp4", ["mp4", "gif", "mp4"], ["fox.mp4", "fox.gif"]),
        ("night/{slug}_{seed}", ["webp"], ["night/a-fox_7.webp"]),
        ("../{model}/{slug}/{index:03}.gif", [], ["../toonyou/a-fox/001.gif"]),
    ],
)
def test_a_name_is_kept_as_it_was_typed(output, formats, expected):
    assert names(output, *formats) == expected


def test_home_is_where_the_shell_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names("~/{slug}.gif") == [f"{tmp_path}/a-fox.gif"]


def test_a_taken_name_gets_a_number_that_all_its_formats_share(here):
    (here / "fox.mp4").touch()
    assert names("fox", "gif", "mp4") == ["fox-2.gif", "fox-2.mp4"]
    assert names("fox", "gif", "mp4", overwrite=True) == ["fox.gif", "fox.mp4"]


def test_a_folder_of_frames_is_a_taken_name_and_not_a_place(here):
    (here / "fox").mkdir()
    (here / "fox" / "recipe.json").write_text("{}")
    assert names("fox", "frames") == ["fox-2"]
    assert names("fox", "frames", overwrite=True) == ["fox"]


def test_several_clips_under_one_name_are_refused():
    with pytest.raises(UsageError, match=r"2 clips would have the same name `fox\.gif`") as caught:
        names("fox.gif", clips=[clip(seed=1), clip(seed=2)])
    assert "{seed}" in caught.value.hint


def test_prompts_that_begin_alike_are_counted():
    clips = [clip(prompt="a fox"), clip(prompt="A fox!")]
    assert [name.rpartition("a-fox_")[2] for name in names("night/", clips=clips)] == ["7_1.gif", "7_2.gif"]


@pytest.mark.parametrize(
    ("output", "formats", "says"),
    [
        ("fox.gfi", [], "no format ends in `.gfi`"),
        ("fox.gif", ["mp4"], "asks for gif"),
        ("fox", ["mpeg"], "unknown output format"),
        ("{colour}.gif", [], "unknown field"),
        ("con.gif", [], "is not a valid file name on all systems"),
        ("taken.txt/fox.gif", [], "is a file, not a folder"),
    ],
)
def test_a_place_that_cannot_be_is_refused_before_the_render(output, formats, says, here):
    (here / "taken.txt").touch()
    with pytest.raises(UsageError, match=re.escape(says)):
        names(output, *formats)


def test_a_rate_that_gif_cannot_keep_is_refused_before_the_render():
    with pytest.raises(UsageError, match="50 frames per second"):
        names("fox.gif", clips=[clip(fps=60)])


def test_a_folder_in_the_place_of_a_file_is_refused_before_the_render(here):
    (here / "a-fox.gif").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        names("{slug}.gif", overwrite=True)


def test_a_clip_never_replaces_the_one_it_goes_on_from(here):
    (here / "fox.mp4").touch()
    (here / "link.mp4").symlink_to("fox.mp4")
    for source in ("fox.mp4", str(here / "fox.mp4"), "link.mp4"):
        clips = [clip(continue_from=source)]
        with pytest.raises(UsageError, match=r"`fox\.mp4` is read for this clip"):
            names("fox", "gif", "mp4", clips=clips, overwrite=True)
        assert names("fox.mp4", clips=clips) == ["fox-2.mp4"]
        assert names("fox.gif", clips=clips, overwrite=True) == ["fox.gif"]
    assert names("fox.mp4", clips=[clip(continue_from="gone.mp4")], overwrite=True) == ["fox.mp4"]


def test_choosing_makes_nothing(here):
    names("night/{slug}/{seed}.gif")
    assert list(here.iterdir()) == []


@given(st.lists(st.text(max_size=60), min_size=1, max_size=5), st.integers(0, 2**64 - 1))
def test_any_prompts_get_names_of_their_own(prompts, seed):
    clips = [clip(prompt=prompt, seed=seed) for prompt in prompts]
    found = names(None, clips=clips)
    assert len(set(found)) == len(clips)


def test_clips_may_go_to_a_storage_system(bucket, monkeypatch):
    assert names(f"{bucket}/fox.gif") == [f"{bucket}/fox.gif"]
    assert names(f"{bucket}/{{seed}}", "gif", "frames") == [f"{bucket}/7.gif", f"{bucket}/7"]
    assert re.fullmatch(rf"{bucket}/night/\d{{8}}_a-fox_7\.gif", names(f"{bucket}/night/")[0])
    assert names(bucket)[0].startswith(f"{bucket}/2")  # a bucket is a folder without `/` too
    monkeypatch.setenv("ANIMDIFF_OUTPUT", f"{bucket}/mine")
    assert names(None)[0].startswith(f"{bucket}/mine/")


def test_a_name_that_is_taken_on_a_storage_system_gets_a_number(bucket, here):
    (here / "x").write_bytes(b"")
    upload(here / "x", location(f"{bucket}/night/fox.gif"), replace=False)
    assert names(f"{bucket}/night/fox.gif") == [f"{bucket}/night/fox-2.gif"]
    assert names(f"{bucket}/night/fox.gif", overwrite=True) == [f"{bucket}/night/fox.gif"]
    assert names(f"{bucket}/night")[0].startswith(f"{bucket}/night/2")  # an existing folder
    assert names(f"{bucket}/night/fox.webp") == [f"{bucket}/night/fox.webp"]
