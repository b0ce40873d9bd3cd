"""`video`: size, rate, length and audio come from the video; what does not fit is refused before weights load."""

import shutil
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image

from animdiff_cli import generate, load
from animdiff_cli.config.layers import Layer
from animdiff_cli.config.load import flag_name
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.jobs.render import render
from animdiff_cli.jobs.render_plan import plan_from_recipe, plan_renders
from animdiff_cli.jobs.source_video import audio_of, with_shape_of_video
from animdiff_cli.outputs import write_clip
from animdiff_cli.outputs.read import read_clip

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
FRAMES = np.random.default_rng(0).integers(0, 256, (12, 9, 10, 3), np.uint8).repeat(8, 1).repeat(8, 2)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of 12 frames at 12 per second, 80x72; returns its path."""
    return write_clip(FRAMES, 12, tmp_path_factory.mktemp("video") / "dance.mp4", "mp4", {"config": {}})


@pytest.fixture(scope="module")
def with_tone(video):
    """The same with a tone of half its length in the second half, as MOV."""
    path = video.with_name("tone.mov")
    tone = ["-f", "lavfi", "-i", "sine=frequency=440:duration=0.5", "-af", "adelay=500:all=1"]
    command = [FFMPEG, "-v", "error", "-i", str(video), *tone, "-c:v", "copy", "-c:a", "aac", str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.fixture
def settings(small):
    kept = {key: value for key, value in small.items() if key not in ("width", "height", "num_frames")}
    return kept | {"prompt": "a fox", "steps": 2, "guidance_scale": 1}


def shape(*layers):
    """Return what the video adds to the settings of these layers."""
    return with_shape_of_video([Layer("test", values) for values in layers])[0].values


def sound(path):
    """Return the audio of a file, mono at 8000 per second."""
    command = [FFMPEG, "-v", "error", "-i", str(path), "-map", "0:a?", "-f", "f32le", "-ac", "1", "-ar", "8000", "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    return np.frombuffer(done.stdout, np.float32)


def test_a_clip_has_the_size_rate_and_length_of_its_video(video, settings):
    clip = load(**settings).generate("a fox", video=video, denoise=0.5)
    assert clip.frames.shape == (12, 72, 80, 3)
    config = clip.recipe["config"]
    assert [config[key] for key in ("width", "height", "fps", "num_frames")] == [80, 72, 12, 12]
    assert (config["video"], config["denoise"], list(clip.recipe["inputs"]["video"])) == (
        "dance.mp4",
        0.5,
        ["dance.mp4"],
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"width": 80, "height": 72, "fps": 12, "num_frames": 12}),
        ({"video.fps": 6}, {"width": 80, "height": 72, "fps": 6, "num_frames": 6}),
        ({"fps": 6.0}, {"width": 80, "height": 72, "fps": 12, "num_frames": 6}),
        ({"video.section": "0.5s-100%"}, {"width": 80, "height": 72, "fps": 12, "num_frames": 6}),
        ({"video.section": "4", "video.fps": 6}, {"width": 80, "height": 72, "fps": 6, "num_frames": 4}),
        ({"width": 160}, {"height": 144, "fps": 12, "num_frames": 12}),
        ({"height": 144}, {"width": 160, "fps": 12, "num_frames": 12}),
    ],
)
def test_what_is_given_decides_what_the_video_adds(video, given, expected):
    found = shape({"video": str(video)}, given)
    assert {key: found[key] for key in expected} == pytest.approx(expected)


def test_a_folder_gives_its_number_and_a_picture_its_size_alone(tmp_path):
    for number in range(3):
        Image.fromarray(FRAMES[number]).resize((43, 21)).save(tmp_path / f"{number}.png")
    assert shape({"video": str(tmp_path)}) == {"width": 40, "height": 16, "num_frames": 3}
    assert shape({"video": str(tmp_path / "0.png")}) == {"width": 40, "height": 16}


def test_a_phone_video_is_upright(video):
    turned = video.with_name("turned.mp4")
    command = [FFMPEG, "-v", "error", "-display_rotation", "90", "-i", str(video), "-c", "copy", str(turned)]
    subprocess.run(command, check=True)
    assert {key: shape({"video": str(turned)})[key] for key in ("width", "height")} == {"width": 72, "height": 80}


def test_nothing_denoised_is_the_video_through_the_vae(video, settings):
    settings["num_frames"] = 2
    kept = generate(video=video, denoise=0, **settings).frames
    assert not np.array_equal(kept, generate(video=video, denoise=1, **settings).frames)
    again = generate(video=video, denoise=0, **settings | {"prompt": "a fish", "seed": 9}).frames
    assert np.array_equal(kept, again)


def test_a_recipe_is_rendered_again_from_the_video_beside_it(video, settings, tmp_path, monkeypatch):
    copied = tmp_path / video.name
    copied.write_bytes(video.read_bytes())
    clip = generate(video={"source": copied, "section": "0-3", "fps": 6}, denoise={"0": 0.2, "-1": 1}, **settings)
    assert clip.recipe["config"]["video"] == {"source": "dance.mp4", "section": "0-3", "fps": 6}
    clip.save(tmp_path / "anew.png")
    monkeypatch.chdir(tmp_path.parent)
    again = next(render(plan_from_recipe(tmp_path / "anew.png")))
    assert np.array_equal(again.frames, clip.frames) and again.recipe == clip.recipe


def config(video, **settings):
    return GenerateConfig(prompt="a fox", model="toy", seed=1, video=video, **{"num_frames": 12, "fps": 12} | settings)


@pytest.mark.parametrize("format", ["mp4", "webm"])
def test_the_audio_of_the_part_is_kept(with_tone, tmp_path, format):
    for section, is_early, is_late in ((None, False, True), ("0.5s", True, False)):
        audio = audio_of(config({"source": str(with_tone), "section": section}))
        path = write_clip(FRAMES[:, :16, :16], 12, tmp_path / f"{section}.{format}", format, {}, audio=audio)
        heard = sound(path)
        assert [np.abs(part).max() > 0.05 for part in (heard[500:3500], heard[4500:7500]) if len(part)] == (
            [is_early, is_late] if is_late else [is_early]
        )
        assert read_clip(path).frames.shape == (12, 16, 16, 3)


def test_no_audio_where_it_is_unwanted_or_out_of_step(with_tone, video, tmp_path):
    slower = {"source": str(with_tone), "fps": 6}
    for unwanted in (config(str(with_tone), audio=False), config(slower), config(None)):
        assert audio_of(unwanted) is None
    path = write_clip(FRAMES[:, :16, :16], 12, tmp_path / "a.mp4", "mp4", {}, audio=audio_of(config(str(video))))
    assert len(sound(path)) == 0 and len(read_clip(path).frames) == 12


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"continue_from": "x.gif"}, "no clip", "--continue-from"),
        ({"free_init": 3}, "`--video` and `--free-init` cannot be combined", "leave one"),
        ({"scheduler": "pndm"}, "cannot begin between its steps", "--scheduler ddim"),
        ({"denoise": {"steps 0": 0.5, "steps 1": 1}}, "varies over frames, not over steps", "0:0.3"),
        ({"denoise": 1.5}, "`denoise` must be a number from 0 up to 1", ""),
        (
            {"num_frames": 20, "video": {"source": "SELF", "after_end": "refuse"}},
            "ends before the clip",
            "--set video.after_end=hold",
        ),
        ({"video": {"source": "SELF", "section": "2s-6s"}}, "is after its end at 1 s", "100%"),
        ({"video": {"source": "SELF", "frames": "0"}}, "for all frames", "leave out"),
    ],
)
def test_what_does_not_fit_is_refused(video, settings, changes, message, hint):
    own = changes.get("video", {})
    changes = changes | ({"video": own | {"source": video}} if own else {})
    with pytest.raises((UsageError, NotFound), match=message) as refusal:
        generate(**settings | {"video": video} | changes)
    assert hint in (refusal.value.hint or "")


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("missing.mp4", None, NotFound, "no picture or video"),
        ("notes.txt", b"hello", UsageError, "neither a picture nor a video"),
        ("notes.png", b"hello", UsageError, "cannot read"),
        ("sound.mp4", "sound", UsageError, "no video stream"),
    ],
)
def test_a_file_without_pictures_is_refused(settings, tmp_path, name, content, error, message):
    path = tmp_path / name
    if content == "sound":
        command = [FFMPEG, "-v", "error", "-f", "lavfi", "-i", "sine=duration=0.2", "-c:a", "aac", str(path)]
        subprocess.run(command, check=True)
    elif content:
        path.write_bytes(content)
    with pytest.raises(error, match=message):
        generate(video=path, **settings)


@pytest.fixture
def mask(video):
    """A mask that repaints the left half; returns its path."""
    picture = np.zeros((72, 80, 3), np.uint8)
    picture[:, :40] = 255
    path = video.with_name("mask.png")
    Image.fromarray(picture).save(path)
    return path


def test_black_keeps_the_pixels_of_the_video_and_white_is_repainted(video, mask, settings):
    settings["num_frames"] = 2
    clip = generate(video=video, mask=mask, denoise=1, **settings)
    source = read_clip(video).frames[:2]
    assert np.array_equal(clip.frames[:, :, 40:], source[:, :, 40:])
    assert np.abs(clip.frames[:, :, :40].astype(int) - source[:, :, :40]).mean() > 20
    assert list(clip.recipe["inputs"]) == ["video", "mask"]
    soft = generate(video=video, mask={"source": mask, "feather": 16}, denoise=1, **settings).frames
    kept = [np.abs(soft[:, :, at].astype(int) - source[:, :, at]).max() for at in (43, 79)]
    assert kept[0] > 0 == kept[1]


@pytest.fixture
def inpainting_model(toy_model, tmp_path):
    """The toy model with a UNet of nine channels; returns its path."""
    folder = tmp_path / "toy-inpainting"
    shutil.copytree(toy_model, folder)
    config = UNet2DConditionModel.load_config(folder / "unet")
    torch.manual_seed(0)
    UNet2DConditionModel.from_config(dict(config) | {"in_channels": 9}).save_pretrained(folder / "unet")
    return folder


def test_an_inpainting_model_repaints_and_needs_a_mask(video, mask, settings, inpainting_model):
    settings |= {"num_frames": 2, "model": inpainting_model}
    clip = generate(video=video, mask=mask, **settings)
    assert np.array_equal(clip.frames[:, :, 40:], read_clip(video).frames[:2, :, 40:])
    for changes in ({"video": video}, {"width": 64, "height": 64}):
        with pytest.raises(UsageError, match="is an inpainting model") as refusal:
            generate(**settings | changes)
        assert "--mask FILE" in refusal.value.hint


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"video": None}, UsageError, "where a video is repainted, and there is none"),
        ({"mask": {"source": "SELF", "frames": "0"}}, UsageError, "for all frames"),
        ({"mask": "missing.png"}, NotFound, "no picture or video"),
        ({"mask": {"source": "SELF", "feather": -1}}, UsageError, "must be a number from 0"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(video, mask, settings, changes, error, message):
    own = changes.get("mask", {})
    changes = changes | ({"mask": own | {"source": mask}} if isinstance(own, dict) and own else {})
    with pytest.raises(error, match=message):
        generate(**settings | {"video": video, "mask": mask} | changes)


@pytest.mark.parametrize(
    ("key", "value", "flag"),
    [("invert", True, "--invert"), ("invert", False, "--no-invert"), ("audio", False, "--no-audio")],
)
def test_flags_of_videos_are_refused_as_they_were_typed(key, value, flag):
    typed = Layer("command line", {key: value}, {key: flag_name(key)})
    with pytest.raises(UsageError, match=f"`{flag}` has no effect without a video"):
        plan_renders([Layer("test", {"prompt": "a fox", "model": "pocket"}), typed])
