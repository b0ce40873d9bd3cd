"""Videos: every container gives its frames by number, whether read through or found by seeking."""

import numpy as np
import pytest

from animdiff_cli.outputs.ffmpeg import DecodeError
from animdiff_cli.training.data import decode
from animdiff_cli.training.data.media import Media


def media(path, **given):
    return Media(path.name, path, "video", **given)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "avi", "gif", "ts"])
def test_any_container_gives_exactly_the_frames_asked_for(suffix, counting, count, write_video, tmp_path):
    video = media(write_video(counting(70), tmp_path / f"a.{suffix}"))
    timeline = decode.look(video)
    assert (timeline.width, timeline.height, len(timeline.times)) == (96, 48, 70)
    assert timeline.rate == pytest.approx(8, rel=0.02)
    for wanted in ([0, 1, 2], [5, 9, 13], [30, 31, 69], [69], [11, 11, 12, 40]):
        frames = decode.read(video, timeline, wanted, (96, 48))
        assert frames.dtype == np.uint8
        assert frames.shape == (len(wanted), 48, 96, 3)
        assert count(frames) == wanted


def test_only_what_is_asked_for_is_kept_at_the_size_asked_for(counting, count, write_video, tmp_path):
    video = media(write_video(counting(20, height=60), tmp_path / "a.mp4"))
    frames = decode.read(video, decode.look(video), [3, 17], (64, 40))
    assert frames.shape == (2, 40, 64, 3)
    assert count(frames) == [3, 17]


def test_a_varying_frame_rate_keeps_its_times(counting, count, write_video, tmp_path, ffmpeg):
    steady = write_video(counting(40), tmp_path / "steady.mp4")
    varying = tmp_path / "varying.mp4"
    # the second half plays at a third of the speed
    slower = "setpts='if(lt(N,20),N/8,(20+3*(N-20))/8)/TB'"
    ffmpeg("-i", steady, "-vf", slower, "-fps_mode", "vfr", "-video_track_timescale", 24000, varying)
    timeline = decode.look(media(varying))
    gaps = np.diff(timeline.times)
    assert gaps[:19] == pytest.approx(1 / 8, abs=1e-3)
    assert gaps[20:] == pytest.approx(3 / 8, abs=1e-3)
    assert count(decode.read(media(varying), timeline, [18, 19, 20, 33], (96, 48))) == [18, 19, 20, 33]


def test_the_end_of_a_long_video_is_as_exact_as_its_beginning(counting, count, write_video, tmp_path, ffmpeg):
    long = tmp_path / "long.mp4"
    pause = "settb=1/30000,setpts='(N+if(lt(N,20),0,216000))/30/TB'"  # two hours
    ffmpeg(
        "-i",
        write_video(counting(40), tmp_path / "a.mp4"),
        "-vf",
        pause,
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "filter",
        long,
    )
    timeline = decode.look(media(long))
    assert np.diff(timeline.times[20:]) == pytest.approx(1 / 30, abs=1e-4)
    assert count(decode.read(media(long), timeline, [21, 30, 39], (96, 48))) == [21, 30, 39]


def test_a_video_filmed_upright_is_upright(counting, count, write_video, tmp_path, ffmpeg):
    lying = write_video(np.rot90(counting(12), axes=(1, 2)).copy(), tmp_path / "lying.mp4")
    turned = tmp_path / "turned.mp4"
    # ffmpeg turns what says it was filmed turned by a quarter, as players do
    ffmpeg("-display_rotation", 270, "-i", lying, "-c", "copy", turned)
    timeline = decode.look(media(turned))
    assert (timeline.width, timeline.height) == (96, 48)
    assert count(decode.read(media(turned), timeline, [2, 9], (96, 48))) == [2, 9]


def test_wide_pixels_make_a_wider_video(counting, write_video, tmp_path):
    path = write_video(counting(4), tmp_path / "a.mp4", 8, "-vf", "setsar=4/3")
    timeline = decode.look(media(path))
    assert (timeline.width, timeline.height) == (128, 48)


def test_odd_sizes_are_fine(counting, write_video, tmp_path):
    video = media(write_video(counting(6)[:, :47, :95], tmp_path / "a.webm"))
    timeline = decode.look(video)
    assert (timeline.width, timeline.height) == (95, 47)
    assert decode.read(video, timeline, [0, 5], (33, 17)).shape == (2, 17, 33, 3)


def test_a_video_that_begins_late_is_read_from_its_beginning(counting, count, write_video, tmp_path, ffmpeg):
    late = tmp_path / "late.mkv"
    ffmpeg("-i", write_video(counting(40), tmp_path / "a.mp4"), "-c", "copy", "-output_ts_offset", 5, late)
    timeline = decode.look(media(late))
    assert count(decode.read(media(late), timeline, [0, 20, 39], (96, 48))) == [0, 20, 39]


def test_bytes_inside_an_archive_are_a_video(counting, count, write_video, tmp_path):
    raw = write_video(counting(30), tmp_path / "a.mp4").read_bytes()
    archive = tmp_path / "odd, name: %d.tar"
    archive.write_bytes(b"x" * 1000 + raw + b"y" * 1000)
    video = media(archive, span=(1000, 1000 + len(raw)))
    assert count(decode.read(video, decode.look(video), [4, 25], (96, 48))) == [4, 25]


@pytest.mark.parametrize("name", ["-n.mp4", "a:b.mp4", "100%d.mp4", "мой клип ☃.mp4", "a'b\\c.mp4"])
def test_any_name_is_a_name(name, counting, count, write_video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write_video(counting(6), tmp_path / "a.mp4")
    video = media(source.rename(name) and source.__class__(name))
    assert count(decode.read(video, decode.look(video), [5], (96, 48))) == [5]


def test_a_broken_file_says_that_it_is(tmp_path, counting, write_video):
    whole = write_video(counting(30), tmp_path / "a.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DecodeError, match="incomplete or damaged"):
        decode.look(media(cut))
    noise = tmp_path / "noise.mkv"
    noise.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(DecodeError, match="not a video, or damaged"):
        decode.look(media(noise))
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(DecodeError):
        decode.look(media(empty))


def test_a_file_of_sound_alone_says_that_it_is(real, tmp_path, ffmpeg):
    sound = tmp_path / "sound.mp4"
    ffmpeg("-i", real("bigbuckbunny"), "-vn", "-c", "copy", sound)
    with pytest.raises(DecodeError, match="no video stream"):
        decode.look(media(sound))


def test_a_file_that_shrank_since_is_not_read_on(counting, write_video, tmp_path):
    video = media(write_video(counting(30), tmp_path / "a.mkv"))
    timeline = decode.look(video)
    write_video(counting(10), tmp_path / "a.mkv")
    with pytest.raises(DecodeError, match="no longer the same"):
        decode.read(video, timeline, [20, 24], (96, 48))
