"""Footage in folders: what counts as a clip, what is skipped and why, and the sources of captions."""

import os

import numpy as np
import pytest
from PIL import Image

from animdiff_cli.errors import UsageError
from animdiff_cli.training.data.find import find_in_folder


@pytest.fixture
def put(tmp_path):
    """Create files with `text` below the folder and return it."""

    def build(*names, text=""):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return build


def names(found):
    return [media.name for media in found.media]


def captions(found):
    return {media.name: media.caption for media in found.media}


def test_videos_are_found_at_any_depth_sorted_by_name(put):
    root = put("b.mp4", "a.MOV", "deep/er/c d.webm", "notes.md", "z.mkv", "y.gif", "x.avi")
    assert names(find_in_folder(root, stills=False)) == [
        "a.MOV",
        "b.mp4",
        "x.avi",
        "y.gif",
        "z.mkv",
        "deep/er/c d.webm",
    ]


def test_hidden_files_and_folders_are_ignored(put):
    root = put("a.mp4", "._a.mp4", ".trash/b.mp4")
    found = find_in_folder(root, stills=False)
    assert names(found) == ["a.mp4"]
    assert found.skipped == ()


def test_link_cycles_end_and_each_folder_is_visited_once(put, tmp_path):
    root = put("one/a.mp4", "two/b.mp4")
    (root / "one" / "loop").symlink_to(root)
    (root / "again").symlink_to(root / "two")
    (root / "self.mp4").symlink_to(root / "self.mp4")
    (root / "gone.mp4").symlink_to(root / "nowhere.mp4")
    found = find_in_folder(root, stills=False)
    assert sorted(media.path.name for media in found.media) == ["a.mp4", "b.mp4"]
    assert dict(found.skipped) == dict.fromkeys(("self.mp4", "gone.mp4"), "broken link")


def test_linked_videos_are_used(put, tmp_path):
    root = put("clips/a.mp4", "elsewhere/b.mp4")
    (root / "clips" / "b.mp4").symlink_to(root / "elsewhere" / "b.mp4")
    assert names(find_in_folder(root / "clips", stills=False)) == ["a.mp4", "b.mp4"]


def test_pictures_numbered_without_a_gap_are_one_clip(put):
    root = put(*(f"walk/frame_{number}.png" for number in range(1, 12)), "walk/recipe.json")
    (clip,) = find_in_folder(root, stills=False).media
    assert (clip.name, clip.kind) == ("walk", "frames")
    assert clip.frames == tuple(f"frame_{number}.png" for number in range(1, 12))


@pytest.mark.parametrize(
    "shot", [["IMG_0003.jpg", "IMG_0007.jpg"], ["a.png"], ["cat.png", "dog.png"], ["7.jpg", "8.jpg"]]
)
def test_other_pictures_are_stills_and_used_only_with_a_camera_move(shot, put):
    root = put(*(f"photos/{name}" for name in shot))
    assert names(find_in_folder(root, stills=True)) == sorted(f"photos/{name}" for name in shot)
    found = find_in_folder(root, stills=False)
    assert names(found) == []
    assert all("`--shot`" in reason for _, reason in found.skipped)
    assert len(found.skipped) == len(shot)


def test_the_folder_itself_is_a_clip_unless_stills_are_used(put):
    root = put("1.png", "2.png")
    assert [media.kind for media in find_in_folder(root, stills=False).media] == ["frames"]
    assert [media.kind for media in find_in_folder(root, stills=True).media] == ["still", "still"]


def test_a_text_file_beside_a_video_is_its_caption(put):
    root = put("a.mp4", "b.mp4", "walk/0.png", "walk/1.png")
    (root / "a.txt").write_text("\ufeffa red\n fox\n", encoding="utf-8")
    (root / "b.txt").write_text("\n")
    (root / "walk.txt").write_text("a walk")
    assert captions(find_in_folder(root, stills=False)) == {"a.mp4": "a red fox", "b.mp4": None, "walk": "a walk"}


def test_a_list_captions_videos_in_its_folder_and_below(put):
    root = put("a.mp4", "b.mp4", "deep/c.mp4", "deep/d.mp4")
    (root / "metadata.jsonl").write_text(
        '{"file_name": "a.mp4", "text": "from a list"}\n\n{"file_name": "b.mp4", "caption": "b of the list"}\n'
        '{"file_name": "deep/c.mp4", "caption": "c, \u00e9"}\n',
        encoding="utf-8",
    )
    (root / "b.txt").write_text("b of its own")
    (root / "deep" / "metadata.csv").write_text("file_name,caption\nd.mp4,from below\n")
    assert captions(find_in_folder(root, stills=False)) == {
        "a.mp4": "from a list",
        "b.mp4": "b of its own",
        "deep/c.mp4": "c, é",
        "deep/d.mp4": "from below",
    }


def test_missing_files_of_a_list_are_skipped_with_a_reason(put):
    root = put("a.mp4")
    (root / "metadata.csv").write_text("file_name,caption\na.mp4,here\nb.mp4,gone\n")
    assert find_in_folder(root, stills=False).skipped == (("b.mp4", "no such file"),)


def test_a_damaged_list_is_refused_with_its_line(put):
    root = put("a.mp4")
    (root / "metadata.jsonl").write_text('{"file_name": "a.mp4"}\n{"file_name": }\n')
    with pytest.raises(UsageError, match=r"metadata.jsonl`, line 2"):
        find_in_folder(root, stills=False)


def test_a_folder_of_frames_written_by_animdiff_is_a_clip(tmp_path):
    from animdiff_cli.outputs import write_clip

    write_clip(np.zeros((3, 8, 8, 3), np.uint8), 8, tmp_path / "clips" / "dark", "frames", {"prompt": "night"})
    (clip,) = find_in_folder(tmp_path / "clips", stills=False).media
    assert clip.frames == ("00000.png", "00001.png", "00002.png")
    assert Image.open(clip.path / clip.frames[0]).size == (8, 8)


def test_media_that_is_not_read_is_named_with_the_reason(put):
    root = put(
        "a.3gp", "b.MTS", "c.m2ts", "d.asf", "e.mxf", "f.vob", "IMG_1.HEIC", "g.jxl", "h.m3u8", "notes.txt", "i.tgs"
    )
    found = find_in_folder(root, stills=False)
    assert names(found) == ["a.3gp", "b.MTS", "c.m2ts", "d.asf", "e.mxf", "f.vob"]
    assert dict(found.skipped) == {
        "IMG_1.HEIC": "`.heic` files are not supported: convert them to PNG or JPEG",
        "g.jxl": "`.jxl` files are not supported: convert them to PNG or JPEG",
        "h.m3u8": "`.m3u8` files are not supported: convert them to MP4",
    }


def test_a_sequence_may_begin_at_any_number(put):
    root = put(*(f"shot/plate.{number}.png" for number in range(1001, 1017)))
    for stills in (False, True):
        (clip,) = find_in_folder(root, stills=stills).media
        assert (clip.name, clip.kind, len(clip.frames)) == ("shot", "frames", 16)


@pytest.mark.parametrize("format", ["webp", "apng"])
def test_animated_images_are_clips_and_still_ones_are_not(format, tmp_path, counting):
    from animdiff_cli.outputs import write_clip

    suffix = {"webp": ".webp", "apng": ".png"}[format]
    write_clip(counting(3), 8, tmp_path / f"1{suffix}", format, {})
    write_clip(counting(3), 8, tmp_path / f"2{suffix}", format, {})
    Image.new("RGB", (8, 8)).save(tmp_path / f"still{suffix}")
    found = find_in_folder(tmp_path, stills=False)
    assert [(media.name, media.kind) for media in found.media] == [(f"{n}{suffix}", "animation") for n in (1, 2)]
    assert [name for name, _ in found.skipped] == [f"still{suffix}"]
    (tmp_path / f"still{suffix}").unlink()
    assert [media.kind for media in find_in_folder(tmp_path, stills=True).media] == ["animation"] * 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_captions_are_read_in_every_unicode_encoding(encoding, put):
    root = put("a.mp4")
    (root / "a.txt").write_bytes("a fox’s den\r\n".encode(encoding))
    assert captions(find_in_folder(root, stills=False)) == {"a.mp4": "a fox’s den"}


@pytest.mark.parametrize(
    "raw",
    [
        "a fox’s den".encode("cp1252"),
        "赤い狐".encode("shift-jis"),
        b"\xff\xd8\xff\xe0\0\x10",
        b"a fo\0x runs",
        b"a fox\x1b[2J",
    ],
)
def test_a_caption_that_is_not_unicode_is_named_and_not_used(raw, put):
    root = put("a.mp4")
    (root / "a.txt").write_bytes(raw)
    found = find_in_folder(root, stills=False)
    assert captions(found) == {"a.mp4": None}
    assert found.unreadable == ("a.txt",)


def test_pipes_and_unreadable_folders_are_skipped(put):
    root = put("a.mp4", "b.mp4")
    for name in ("pipe.mp4", "b.txt", "metadata.jsonl"):
        os.mkfifo(root / name)
    found = find_in_folder(root, stills=False)
    assert names(found) == ["a.mp4", "b.mp4"]
    assert dict(found.skipped) == {"pipe.mp4": "not a regular file"}
    assert found.unreadable == ("b.txt",)
