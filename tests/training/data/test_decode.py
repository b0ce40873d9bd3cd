"""Decoding videos: every container gives exact frames by number, with and without seeking."""

import numpy as np
import pytest

from animdiff_cli.outputs.ffmpeg import DecodeError
from animdiff_cli.training.data import decode
from animdiff_cli.training.data.media import Media


def media(path, **given):
    return Media(path.name, path, "video", **given)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "avi", "gif", "ts"])
def test_every_container_gives_exactly_the_requested_frames(suffix, counting, count, write_video, tmp_path):
    video = media(write_video(counting(70), tmp_path / f"a.{suffix}"))
    timeline = decode.probe(video)
    assert (timeline.width, timeline.height, len(timeline.times)) == (96, 48, 70)
    assert timeline.rate == pytest.approx(8, rel=0.02)
    for wanted in ([0, 1, 2], [5, 9, 13], [30, 31, 69], [69], [11, 11, 12, 40]):
        frames = decode.read_frames(video, timeline, wanted, (96, 48))
        assert frames.dtype == np.uint8
        assert frames.shape == (len(wanted), 48, 96, 3)
        assert count(frames) == wanted


def test_requested_frames_have_the_requested_size(counting, count, write_video, tmp_path):
    video = media(write_video(counting(20, height=60), tmp_path / "a.mp4"))
    frames = decode.read_frames(video, decode.probe(video), [3, 17], (64, 40))
    assert frames.shape == (2, 40, 64, 3)
    assert count(frames) == [3, 17]


def test_a_variable_frame_rate_keeps_its_times(counting, count, write_video, tmp_path, ffmpeg):
    steady = write_video(counting(40), tmp_path / "steady.mp4")
    varying = tmp_path / "varying.mp4"
    # the second half plays at a third of the speed
    slower = "setpts='if(lt(N,20),N/8,(20+3*(N-20))/8)/TB'"
    ffmpeg("-i", steady, "-vf", slower, "-fps_mode", "vfr", "-video_track_timescale", 24000, varying)
    timeline = decode.probe(media(varying))
    gaps = np.diff(timeline.times)
    assert gaps[:19] == pytest.approx(1 / 8, abs=1e-3)
    assert gaps[20:] == pytest.approx(3 / 8, abs=1e-3)
    assert count(decode.read_frames(media(varying), timeline, [18, 19, 20, 33], (96, 48))) == [18, 19, 20, 33]


def test_seeking_is_exact_at_the_end_of_a_long_video(counting, count, write_video, tmp_path, ffmpeg):
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
    timeline = decode.probe(media(long))
    assert np.diff(timeline.times[20:]) == pytest.approx(1 / 30, abs=1e-4)
    assert count(decode.read_frames(media(long), timeline, [21, 30, 39], (96, 48))) == [21, 30, 39]


def test_a_rotated_video_is_decoded_upright(counting, count, write_video, tmp_path, ffmpeg):
    lying = write_video(np.rot90(counting(12), axes=(1, 2)).copy(), tmp_path / "lying.mp4")
    turned = tmp_path / "turned.mp4"
    # ffmpeg applies the display rotation, as players do
    ffmpeg("-display_rotation", 270, "-i", lying, "-c", "copy", turned)
    timeline = decode.probe(media(turned))
    assert (timeline.width, timeline.height) == (96, 48)
    assert count(decode.read_frames(media(turned), timeline, [2, 9], (96, 48))) == [2, 9]


def test_non_square_pixels_change_the_width(counting, write_video, tmp_path):
    path = write_video(counting(4), tmp_path / "a.mp4", 8, "-vf", "setsar=4/3")
    timeline = decode.probe(media(path))
    assert (timeline.width, timeline.height) == (128, 48)


def test_odd_sizes_are_decoded(counting, write_video, tmp_path):
    video = media(write_video(counting(6)[:, :47, :95], tmp_path / "a.webm"))
    timeline = decode.probe(video)
    assert (timeline.width, timeline.height) == (95, 47)
    assert decode.read_frames(video, timeline, [0, 5], (33, 17)).shape == (2, 17, 33, 3)


def test_a_video_with_a_start_time_is_read_from_its_first_frame(counting, count, write_video, tmp_path, ffmpeg):
    late = tmp_path / "late.mkv"
    ffmpeg("-i", write_video(counting(40), tmp_path / "a.mp4"), "-c", "copy", "-output_ts_offset", 5, late)
    timeline = decode.probe(media(late))
    assert count(decode.read_frames(media(late), timeline, [0, 20, 39], (96, 48))) == [0, 20, 39]


def test_a_video_inside_an_archive_is_decoded(counting, count, write_video, tmp_path):
    raw = write_video(counting(30), tmp_path / "a.mp4").read_bytes()
    archive = tmp_path / "odd, name: %d.tar"
    archive.write_bytes(b"x" * 1000 + raw + b"y" * 1000)
    video = media(archive, span=(1000, 1000 + len(raw)))
    assert count(decode.read_frames(video, decode.probe(video), [4, 25], (96, 48))) == [4, 25]


@pytest.mark.parametrize("name", ["-n.mp4", "a:b.mp4", "100%d.mp4", "мой клип ☃.mp4", "a'b\\c.mp4"])
def test_every_file_name_is_decoded(name, counting, count, write_video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write_video(counting(6), tmp_path / "a.mp4")
    video = media(source.rename(name) and source.__class__(name))
    assert count(decode.read_frames(video, decode.probe(video), [5], (96, 48))) == [5]


def test_a_damaged_file_is_reported(tmp_path, counting, write_video):
    whole = write_video(counting(30), tmp_path / "a.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DecodeError, match="incomplete or damaged"):
        decode.probe(media(cut))
    noise = tmp_path / "noise.mkv"
    noise.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(DecodeError, match="not a video, or damaged"):
        decode.probe(media(noise))
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(DecodeError):
        decode.probe(media(empty))


def test_a_file_without_video_is_reported(real, tmp_path, ffmpeg):
    sound = tmp_path / "sound.mp4"
    ffmpeg("-i", real("bigbuckbunny"), "-vn", "-c", "copy", sound)
    with pytest.raises(DecodeError, match="no video stream"):
        decode.probe(media(sound))


def test_a_file_that_changed_after_probing_is_refused(counting, write_video, tmp_path):
    video = media(write_video(counting(30), tmp_path / "a.mkv"))
    timeline = decode.probe(video)
    write_video(counting(10), tmp_path / "a.mkv")
    with pytest.raises(DecodeError, match="its frames have changed"):
        decode.read_frames(video, timeline, [20, 24], (96, 48))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mov", ("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le")),
        ("png.mov", ("-c:v", "png", "-pix_fmt", "rgba")),
        ("vp8.webm", ("-c:v", "libvpx", "-auto-alt-ref", 0, "-pix_fmt", "yuva420p")),
        ("vp9.webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-deadline", "realtime", "-cpu-used", 8)),
    ],
)
def test_transparent_parts_of_a_video_become_white(name, options, tmp_path, ffmpeg):
    clip = np.zeros((4, 64, 64, 4), np.uint8)
    clip[..., 1] = 255  # a hidden green
    clip[:, :, :32] = (255, 0, 0, 255)
    raw = ["-f", "rawvideo", "-pix_fmt", "rgba", "-s", "64x64", "-r", 8, "-i", "pipe:0"]
    ffmpeg(*raw, *options, tmp_path / name, pipe=clip.tobytes())
    video = media(tmp_path / name)
    timeline = decode.probe(video)
    assert timeline.transparent
    frames = decode.read_frames(video, timeline, [0, 3], (32, 32))
    assert frames[:, :, 18:].min() > 235
    assert np.abs(frames[:, 8:24, :14].astype(int) - (255, 0, 0)).max() < 40


def test_an_opaque_video_is_not_transparent(counting, write_video, tmp_path):
    for name in ("a.mp4", "a.gif"):
        assert not decode.probe(media(write_video(counting(4), tmp_path / name))).transparent


def test_a_playlist_is_not_followed(counting, write_video, tmp_path):
    write_video(counting(4), tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    with pytest.raises(DecodeError, match="playlists are not followed"):
        decode.probe(media(tmp_path / "b.mp4"))


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("3gp", ("-c:v", "libx264")),
        ("mts", ("-f", "mpegts")),
        ("m2ts", ("-f", "mpegts")),
        ("asf", ("-c:v", "msmpeg4v2")),
        ("mxf", ("-c:v", "mpeg2video", "-r", 25)),
        ("vob", ("-c:v", "mpeg2video", "-r", 25)),
        ("flv", ()),
        ("y4m", ()),
    ],
)
def test_containers_of_cameras_and_discs_are_decoded(suffix, options, tmp_path, ffmpeg):
    path = tmp_path / f"a.{suffix}"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:r=25:d=0.4", "-pix_fmt", "yuv420p", *options, path)
    timeline = decode.probe(media(path))
    assert len(timeline.times) >= 9
    assert decode.read_frames(media(path), timeline, [0, 8], (32, 32)).shape == (2, 32, 32, 3)
