"""Output names, and atomic writes: a file that exists is complete."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from animdiff_cli.core.formats import FORMATS, format_of
from animdiff_cli.errors import UsageError
from animdiff_cli.files.atomic import claim
from animdiff_cli.outputs import check_output, free_path, output_paths, read_recipe, write_all, write_clip
from animdiff_cli.outputs.write import WRITERS

NOISE = "numpy.random.default_rng(0).integers(0, 256, (400, 256, 256, 3), dtype=numpy.uint8)"


def run_writer(setup, call):
    """Start a Python process that writes a large clip."""
    # a process that is started from a background job ignores SIGINT by default
    code = f"""
import numpy, pathlib, resource, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from animdiff_cli.core.formats import FORMATS, format_of
from animdiff_cli.errors import UsageError
from animdiff_cli.outputs import write_clip
frames = {NOISE}
{setup}
try:
    {call}
except UsageError as error:
    print("refused:", error)
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_one_clip_is_written_in_every_format(tmp_path, make_clip):
    paths = write_all(make_clip(), 8, tmp_path / "new" / "fox", list(WRITERS), {"seed": 7})
    names = [path.name for path in paths]
    assert names == [f"fox{row.suffix}" for row in FORMATS.values()]
    assert {"fox.gif", "fox.mp4", "fox.webm", "fox.webp", "fox.png", "fox"} <= set(names)
    assert [read_recipe(path)["seed"] for path in paths] == [7] * len(FORMATS)
    assert len(list((tmp_path / "new").iterdir())) == len(FORMATS)


def test_an_existing_name_gets_the_next_number(tmp_path, make_clip):
    written = [write_clip(make_clip(1), 8, tmp_path / "fox.png", "apng", {"seed": seed}) for seed in range(3)]
    assert [path.name for path in written] == ["fox.png", "fox-2.png", "fox-3.png"]
    assert [read_recipe(path)["seed"] for path in written] == [0, 1, 2]


def test_overwrite_replaces_the_file(tmp_path, make_clip):
    for seed in range(2):
        assert write_clip(make_clip(), 8, tmp_path / "a.gif", "gif", {"seed": seed}, overwrite=True).name == "a.gif"
    assert read_recipe(tmp_path / "a.gif")["seed"] == 1


def test_files_of_one_clip_share_their_number(tmp_path):
    (tmp_path / "fox_v1.5.mp4").touch()
    paths = output_paths(tmp_path / "fox_v1.5", ["gif", "mp4", "frames"])
    assert [path.name for path in paths.values()] == ["fox_v1.5-2.gif", "fox_v1.5-2.mp4", "fox_v1.5-2"]
    assert free_path(tmp_path / "fox_v1.5.mp4", overwrite=True) == tmp_path / "fox_v1.5.mp4"


def test_a_file_created_during_encoding_is_not_replaced(tmp_path):
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    mine.write_text("mine")
    theirs.write_text("theirs")
    with pytest.raises(FileExistsError):
        claim(mine, theirs)
    assert theirs.read_text() == "theirs"


@pytest.mark.parametrize(("name", "format"), [("a.GIF", "gif"), ("a.apng", "apng"), ("a.png", "apng"), ("a", "frames")])
def test_the_suffix_selects_the_format(name, format, tmp_path):
    assert format_of(tmp_path / name) == format


def test_an_unknown_suffix_is_refused_with_a_list_of_known_ones(tmp_path):
    with pytest.raises(UsageError, match=r"no format ends in `\.avi`") as refusal:
        format_of(tmp_path / "a.avi")
    assert ".mp4" in refusal.value.hint


@pytest.mark.parametrize("format", ["mp4", "webp", "gif"])
def test_a_failed_write_keeps_the_old_file_and_leaves_no_temporary_files(format, tmp_path):
    old = tmp_path / "a"
    old.write_text("old")
    # more pixels in a row than these formats can hold
    too_wide = np.zeros((1, 2, 70_000, 3), np.uint8)
    with pytest.raises(Exception):  # noqa: B017 — each encoder raises a different error
        write_clip(too_wide, 8, old, format, {}, overwrite=True)
    assert old.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signal")
@pytest.mark.parametrize("format", ["gif", "mp4", "frames"])
def test_ctrl_c_leaves_no_files(format, tmp_path):
    writer = run_writer("", f"write_clip(frames, 8, pathlib.Path({str(tmp_path / 'a')!r}), {format!r}, {{}})")
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    (hidden,) = tmp_path.iterdir()
    assert hidden.name.startswith(f".a.partial-{writer.pid}-")
    writer.send_signal(signal.SIGINT)
    _, said = writer.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limit")
@pytest.mark.parametrize("format", FORMATS)
def test_a_file_above_the_size_limit_is_reported_and_removed(format, tmp_path):
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); frames = frames[:2]"
    target = str(tmp_path / "a")
    writer = run_writer(limit, f"write_clip(frames, 8, pathlib.Path({target!r}), {format!r}, {{}})")
    out, _ = writer.communicate(timeout=60)
    assert out == f"refused: cannot write `{target}`: the file is larger than this system allows\n"
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_a_folder_is_reported_before_and_after_rendering(tmp_path, make_clip):
    (tmp_path / "taken").write_text("a file")
    target = tmp_path / "taken" / "a.gif"
    with pytest.raises(UsageError, match="not a folder"):
        check_output(target, "gif", 8)
    with pytest.raises(UsageError, match="not a folder"):
        write_clip(make_clip(), 8, target, "gif", {})


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root can write anywhere")
def test_missing_permission_is_reported_before_and_after_rendering(tmp_path, make_clip):
    tmp_path.chmod(0o500)
    for refused in (check_output, lambda path, format, fps: write_clip(make_clip(), fps, path, format, {})):
        with pytest.raises(UsageError, match="permission"):
            refused(tmp_path / "a.gif", "gif", 8)


@pytest.mark.parametrize(("existing", "format"), [("folder", "gif"), ("file", "frames")])
def test_overwriting_never_replaces_a_folder_with_a_file_or_a_file_with_a_folder(existing, format, tmp_path, make_clip):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=f"is a {existing}, so it is not replaced"):
        check_output(tmp_path / existing, format, 8, overwrite=True)
    with pytest.raises(UsageError, match=f"is a {existing}, so it is not replaced"):
        write_clip(make_clip(), 8, tmp_path / existing, format, {}, overwrite=True)


def test_checking_an_output_creates_no_files(tmp_path):
    check_output(tmp_path / "new" / "deep" / "a.gif", "gif", 8)
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_too_long_is_reported(tmp_path, make_clip):
    with pytest.raises(UsageError, match="the name is too long"):
        write_clip(make_clip(1), 8, tmp_path / ("a" * 300 + ".png"), "apng", {})


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((4, 8, 8, 4), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
    ],
)
def test_an_array_that_is_not_a_clip_raises_value_error(frames, tmp_path):
    with pytest.raises(ValueError, match="frames must be"):
        write_clip(frames, 8, tmp_path / "a.gif", "gif", {})


def test_a_non_contiguous_view_is_written_like_its_copy(tmp_path, make_clip, decode_video):
    view = make_clip(8)[::2, ::-1, 1::2]
    first = write_clip(view, 8, tmp_path / "a.mp4", "mp4", {})
    second = write_clip(view.copy(), 8, tmp_path / "b.mp4", "mp4", {})
    assert first.read_bytes() == second.read_bytes()
    assert decode_video(first).shape == view.shape


@pytest.mark.parametrize("format", [format for format in WRITERS if format != "frames"])
def test_the_same_clip_and_recipe_give_the_same_bytes(format, tmp_path, make_clip):
    one, other = (write_clip(make_clip(), 8, tmp_path / name, format, {"prompt": "a fox"}) for name in "ab")
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="has one core")
@pytest.mark.parametrize("format", ["mp4", "webm"])
def test_the_number_of_cores_does_not_change_the_bytes(format, tmp_path):
    cores = os.sched_getaffinity(0)
    clip = np.random.default_rng(0).integers(0, 256, (6, 128, 128, 3), np.uint8)
    written = [write_clip(clip, 8, tmp_path / "all", format, {}).read_bytes()]
    try:
        os.sched_setaffinity(0, [min(cores)])
        written.append(write_clip(clip, 8, tmp_path / "one", format, {}).read_bytes())
    finally:
        os.sched_setaffinity(0, cores)
    assert written[0] == written[1]
