"""A folder of videos as training clips: deterministic, with a reason for every file that is skipped."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.outputs.ffmpeg import DecodeError
from animdiff_cli.training.data.dataset import scan


@pytest.fixture
def videos(tmp_path):
    """The folder that `config` reads."""
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


def test_clips_take_every_stride_th_frame_from_many_starts(videos, config, counting, count, write_video):
    write_video(counting(70), videos / "a.mp4")
    data = scan(config())
    assert len(data) == 1
    assert data.items[0].bucket == (48, 96)
    starts = set()
    for variant in range(12):
        frames = data.frames(0, variant)
        assert (frames.dtype, frames.shape) == (np.uint8, (8, 48, 96, 3))
        taken = count(frames)
        assert taken == list(range(taken[0], taken[0] + 32, 4))
        starts.add(taken[0])
    assert len(starts) > 6


def test_stride_counts_frames_after_resampling_to_fps(videos, config, counting, count, write_video):
    write_video(counting(120), videos / "a.mp4", 24)
    (item,) = scan(config(fps=8, stride=1)).items
    taken = count(scan(config(fps=8, stride=1)).frames(0, 0))
    assert item.timeline.rate == pytest.approx(24)
    assert taken == list(range(taken[0], taken[0] + 24, 3))


def test_frames_depend_on_settings_and_seed_only(videos, config, counting, write_video):
    write_video(counting(70), videos / "a.mp4")
    data = scan(config(shot="pan-left"))
    assert (data.frames(0, 5) == scan(config(shot="pan-left")).frames(0, 5)).all()
    assert (data.frames(0, 5) != data.frames(0, 6)).any()
    other = scan(config(shot="pan-left", seed=1))
    assert other.items[0].key != data.items[0].key
    assert (data.frames(0, 5) != other.frames(0, 5)).any()


def test_a_clip_depends_on_its_video_and_not_on_name_or_other_videos(videos, config, counting, write_video):
    alone = write_video(counting(70), videos / "m.mp4")
    before = scan(config())
    frames = before.frames(0, 2)
    write_video(counting(60, start=9), videos / "a.mp4")
    alone.rename(videos / "z.mp4")
    after = scan(config(caption="a fox"))
    assert [item.name for item in after.items] == ["a.mp4", "z.mp4"]
    assert after.items[1].key == before.items[0].key
    assert (after.frames(1, 2) == frames).all()


@pytest.mark.parametrize(
    "changed",
    [
        {"num_frames": 4},
        {"stride": 2},
        {"size": 64},
        {"square": True},
        {"fps": 4.0},
        {"avoid_cuts": False},
        {"shot": "roll-cw"},
        {"horizontal_flip": True},
        {"seed": 1},
    ],
)
def test_every_setting_that_decides_frames_changes_the_key(changed, videos, config, counting, write_video):
    write_video(counting(70), videos / "a.mp4")
    assert scan(config(**changed)).items[0].key != scan(config()).items[0].key


def test_no_clip_crosses_a_cut_of_a_real_video(videos, config, real):
    (videos / "bikes.mp4").symlink_to(real("bikes"))
    data = scan(config(num_frames=8, stride=4))
    scenes = data.items[0].timeline.scenes()
    for variant in range(40):
        frames = data.clip_sample(0, variant).frames
        assert sum(frames[0] in scene and frames[-1] in scene for scene in scenes) == 1


def test_unusable_files_of_a_folder_are_skipped_with_a_reason(
    videos, config, counting, write_video, real, ffmpeg, notes
):
    write_video(counting(40), videos / "good.mkv")
    write_video(counting(40), videos / "wörter ☃.gif")
    write_video(counting(3), videos / "short.mp4")
    (videos / "broken.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 500)
    ffmpeg("-i", real("bigbuckbunny"), "-vn", "-c", "copy", videos / "sound.mp4")
    Image.new("RGB", (64, 64)).save(videos / "photo.jpg")
    (videos / "notes.md").write_text("not footage")
    data = scan(config(), notes)
    assert [item.name for item in data.items] == ["good.mkv", "wörter ☃.gif"]
    reasons = dict(data.skipped)
    assert set(reasons) == {"short.mp4", "broken.mp4", "sound.mp4", "photo.jpg"}
    assert reasons["short.mp4"] == "too short: it has 3 frames, but a clip of 8 needs 29"
    assert "damaged" in reasons["broken.mp4"]
    assert reasons["sound.mp4"] == "it has no video stream"
    for name, reason in reasons.items():
        assert f"skipped {name}: {reason}" in notes.messages


def test_many_skipped_videos_are_counted_instead_of_listed(videos, config, counting, write_video, notes):
    write_video(counting(40), videos / "good.mp4")
    for number in range(14):
        (videos / f"{number:02}.mp4").touch()
    data = scan(config(), notes)
    assert len(data.skipped) == 14
    skipped = [message for message in notes.messages if message.startswith("skipped")]
    assert len(skipped) == 11
    assert skipped[-1].startswith("skipped 4 more: 4 because")


def test_progress_counts_every_video(videos, config, counting, write_video, notes):
    for number in range(3):
        write_video(counting(40, start=number), videos / f"{number}.mp4")
    scan(config(), notes)
    assert [(event.done, event.total) for event in notes if hasattr(event, "done")] == [(1, 3), (2, 3), (3, 3)]


def test_limit_uses_the_first_usable_videos(videos, config, counting, write_video):
    (videos / "0.mp4").touch()
    for number in range(1, 4):
        write_video(counting(40, start=number), videos / f"{number}.mp4")
    assert [item.name for item in scan(config(limit=2)).items] == ["1.mp4", "2.mp4"]


def test_captions_fall_back_to_the_caption_option(videos, config, counting, write_video, notes):
    write_video(counting(40), videos / "a.mp4")
    write_video(counting(40), videos / "b.mp4")
    (videos / "a.txt").write_text("a red fox")
    data = scan(config(caption="an animal"), notes)
    assert [data.caption(index) for index in range(2)] == ["a red fox", "an animal"]
    assert not any("caption" in message for message in notes.messages)
    scan(config(), notes)
    assert any(
        message.startswith("videos without a caption train with an empty one, 1 of 2:") for message in notes.messages
    )
    (videos / "b.txt").write_text("a blue fox")
    scan(config(caption="an animal"), notes)
    assert any("`--caption` has no effect" in message for message in notes.messages)


def test_stills_become_clips_with_a_camera_move(videos, config, real):
    Image.effect_noise((200, 120), 60).convert("RGB").save(videos / "grey.png")
    data = scan(config(shot="zoom-in", size=64))
    frames = data.frames(0, 0)
    assert frames.shape == (8, 64, 64 + 8 * round((200 / 120 - 1) * 8), 3)
    assert all((before != after).any() for before, after in pairwise(frames))


def test_mirroring_keeps_the_direction_of_the_camera_move(videos, config):
    """A camera that moves right sees a ramp grow brighter and the mirrored ramp darker: the same move."""
    ramp = np.tile(np.linspace(0, 255, 320).astype(np.uint8), (120, 1))
    Image.fromarray(np.stack([ramp] * 3, -1)).save(videos / "ramp.png")
    data = scan(config(shot="pan-right", horizontal_flip=True, shot_speed=0.5))
    for variant in range(12):
        windows = data.clip_sample(0, variant).windows(data.config, 320, 120, data.items[0].bucket)
        assert windows[-1].x > windows[0].x
        brightness = data.frames(0, variant).mean(axis=(1, 2, 3))
        assert (brightness[-1] < brightness[0]) == data.clip_sample(0, variant).mirrored
    assert {data.clip_sample(0, variant).mirrored for variant in range(12)} == {True, False}


def test_clips_of_one_frame_use_stills_and_videos(videos, config, counting, count, write_video):
    write_video(counting(3), videos / "a.mp4")
    Image.new("RGB", (64, 64)).save(videos / "photo.jpg")
    data = scan(config(num_frames=1))
    assert [item.name for item in data.items] == ["a.mp4", "photo.jpg"]
    assert {count(data.frames(0, variant))[0] for variant in range(20)} == {0, 1, 2}


def test_small_footage_is_enlarged_and_reported(videos, config, counting, write_video, notes):
    write_video(counting(40), videos / "a.mp4")
    data = scan(config(size=128), notes)
    assert data.frames(0, 0).shape == (8, 128, 256, 3)
    assert "videos smaller than 128 pixels are enlarged: 1 of 1" in notes.messages


def test_an_empty_folder_is_refused(videos, config):
    (videos / "notes.md").write_text("nothing to see")
    with pytest.raises(NotFound, match="no videos in") as failure:
        scan(config())
    assert ".mp4" in failure.value.hint


def test_a_missing_folder_is_refused_with_a_suggestion(videos, config, tmp_path):
    with pytest.raises(NotFound, match="does not exist") as failure:
        scan(config(videos=tmp_path / "video"))
    assert f"did you mean `{videos}`?" in failure.value.hint


def test_a_file_that_is_not_footage_is_refused(videos, config):
    (videos / "notes.md").write_text("nothing to see")
    with pytest.raises(UsageError, match="not footage"):
        scan(config(videos=videos / "notes.md"))


def test_a_single_video_is_a_data_set(videos, config, counting, write_video):
    video = write_video(counting(40), videos / "a.mp4")
    (videos / "a.txt").write_text("a fox")
    data = scan(config(videos=video))
    assert [(item.name, item.caption) for item in data.items] == [("a.mp4", "a fox")]


def test_a_data_set_without_usable_videos_is_refused_with_a_remedy(videos, config, counting, write_video):
    write_video(counting(20), videos / "a.mp4")
    with pytest.raises(NotFound, match=r"no usable video in .*; a.mp4: too short") as failure:
        scan(config())
    assert "--stride" in failure.value.hint
    (videos / "a.mp4").unlink()
    Image.new("RGB", (64, 64)).save(videos / "photo.jpg")
    with pytest.raises(NotFound) as failure:
        scan(config())
    assert "--shot zoom-in" in failure.value.hint


def test_a_video_deleted_after_the_scan_is_named(videos, config, counting, write_video):
    write_video(counting(40), videos / "a.mp4")
    data = scan(config())
    (videos / "a.mp4").unlink()
    with pytest.raises(DecodeError, match=r"cannot read `a.mp4` any more: there is no such file"):
        data.frames(0, 0)


def test_an_interrupt_ends_probing_a_long_video_at_once(videos, config, ffmpeg, monkeypatch):
    """Ctrl-C arrives when the first of two videos is probed: probing the second, an hour long, ends."""
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25", "-t", 3, "-preset", "ultrafast", videos / "1.mp4")
    ffmpeg("-stream_loop", 1200, "-i", videos / "1.mp4", "-c", "copy", videos / "2.mp4")

    def interrupted(event):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with pytest.raises(KeyboardInterrupt):
        scan(config(), interrupted)
    assert [entry.name for entry in (videos.parent / ".cache" / "videos-2").iterdir()] == [
        cache_entry_of(videos / "1.mp4")
    ]


def cache_entry_of(video):
    return f"{hashlib.sha256(video.read_bytes()).hexdigest()}.json"


def test_a_video_of_one_frame_needs_a_camera_move(config, counting, write_video, tmp_path):
    (tmp_path / "videos").mkdir()
    write_video(counting(1), tmp_path / "videos" / "a.mp4")
    with pytest.raises(NotFound, match="no motion") as refusal:
        scan(config())
    assert "--shot" in refusal.value.hint
    assert len(scan(config(shot="zoom-in"))) == len(scan(config(num_frames=1))) == 1


def test_what_changes_captions_and_colors_is_reported(config, counting, tmp_path, notes):
    from animdiff_cli.outputs import write_clip

    folder = tmp_path / "videos"
    for number in range(2):
        write_clip(counting(40, start=40 * number), 8, folder / f"{number}.webp", "webp", {})
    (folder / "0.txt").write_bytes("ein Füchslein".encode("cp1252"))
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(folder / "logo.png")
    scan(config(shot="zoom-in"), notes)
    assert "one caption file is not UTF-8 and not used, such as 0.txt: save as UTF-8 text" in notes.messages
    assert "transparent parts become white, in 1 of 3 videos" in notes.messages
