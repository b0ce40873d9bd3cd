"""`--control` from the flag to the recipe: files of every layout, sources of every kind, and what is refused first."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from animdiff_cli import generate, load
from animdiff_cli.cli import app
from animdiff_cli.config.layers import Layer, keyword_layer
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.diffusion.control import open_control
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.hashing import sha256_of
from animdiff_cli.jobs.control import plan_controls
from animdiff_cli.jobs.convert import convert
from animdiff_cli.jobs.render_plan import plan_renders
from animdiff_cli.outputs import read_recipe, write_clip
from animdiff_cli.registry.recommend import with_recommended
from animdiff_cli.training.data import decode
from tests.toy_networks import write_controls


@pytest.fixture(scope="module")
def folder(toy_model, tmp_path_factory):
    """A diffusers folder of a ControlNet of random weights that fits `toy_model`; returns its path."""
    torch.manual_seed(7)
    network = ControlNetModel.from_unet(UNet2DConditionModel.from_pretrained(toy_model / "unet"))
    for name, parameter in network.named_parameters():
        if name.startswith(("controlnet_down", "controlnet_mid", "controlnet_cond_embedding.conv_out")):
            parameter.data.normal_(std=0.1)
    path = tmp_path_factory.mktemp("controls") / "toy-control"
    network.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A white square that moves on black, 64x64, 4 frames at 8 per second; returns its path."""
    frames = np.zeros((4, 64, 64, 3), np.uint8)
    for number in range(4):
        frames[number, 16:40, 8 * number : 8 * number + 24] = 255
    return write_clip(frames, 8, tmp_path_factory.mktemp("videos") / "square.mp4", "mp4", {"config": {}})


@pytest.fixture(scope="module")
def sparse(toy_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("sparse") / "sparsectrl_rgb.ckpt"
    write_controls(toy_model / "unet", path.with_name("plain"), path)
    return path


@pytest.fixture
def settings(small):
    return small | {"steps": 2, "num_frames": 3, "guidance_scale": 2}


def frames(**settings):
    return np.asarray(generate("a fox", **settings).frames)


def test_a_video_steers_the_clip_and_the_recipe_records_it(settings, folder, video):
    plain = frames(**settings)
    clip = generate("a fox", controls=[f"{folder}={video}@0.5"], **settings)
    assert (np.asarray(clip.frames) != plain).any()
    assert clip.recipe["config"]["controls"] == [f"{folder}={video.name}@0.5"]
    assert clip.recipe["inputs"] == {"controls": {"square.mp4": sha256_of(video)}}
    assert list(clip.recipe["weights"]["controls"]) == ["diffusion_pytorch_model.safetensors"]


def test_a_scale_of_0_is_no_control(settings, folder, video):
    assert (frames(controls=[f"{folder}={video}@0"], **settings) == frames(**settings)).all()


def test_every_layout_of_the_file_renders_the_same_frames(settings, folder, video, tmp_path):
    wanted = frames(controls=[f"{folder}={video}"], **settings)
    single = convert(folder, "original", output=tmp_path / "control_v11p_sd15_x.safetensors").path
    assert all(key.startswith("control_model.") for key in load_file(single))
    torch.save(load_file(single), tmp_path / "control.pth")
    wrapped = {"state_dict": {f"module.{key}": t for key, t in load_file(folder / WEIGHTS).items()}}
    torch.save(wrapped, tmp_path / "trained.ckpt")
    again = convert(single, "diffusers", output=tmp_path / "again").path
    assert json.loads((again / "config.json").read_text())["block_out_channels"] == [32, 32, 64, 64]
    for path in (single, tmp_path / "control.pth", tmp_path / "trained.ckpt", again):
        # a single file has heads of SD1.5, which a toy does not tell: its folder does
        (tmp_path / "config.json").write_text((folder / "config.json").read_text())
        assert (frames(controls=[f"{path}={video}"], **settings) == wanted).all(), path


WEIGHTS = "diffusion_pytorch_model.safetensors"


def test_half_precision_files_load(settings, folder, video, tmp_path):
    half = {key: tensor.half() for key, tensor in load_file(folder / WEIGHTS).items()}
    save_file(half, tmp_path / "half.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    found = frames(controls=[f"{tmp_path / 'half.safetensors'}={video}"], **settings)
    assert np.abs(found.astype(int) - frames(controls=[f"{folder}={video}"], **settings)).max() <= 3


@pytest.mark.full
def test_fields_of_a_record_change_the_clip(settings, folder, video):
    entry = {"ref": str(folder), "source": str(video)}
    whole = frames(controls=[entry], **settings)
    for field in ({"start": 0.5}, {"end": 0.5}, {"guess_mode": True}, {"frames": [0]}, {"scale": {0: 1, -1: 0}}):
        assert (frames(controls=[entry | field], **settings) != whole).any(), field
    assert (frames(controls=[entry | {"preprocess": "invert"}], **settings) != whole).any()


def test_a_scale_may_change_over_the_steps_of_a_sampler_with_two_calls_each(settings, folder, video):
    entry = {"ref": str(folder), "source": str(video)}
    settings |= {"scheduler": "heun", "steps": 3}
    animator = load(controls=[entry], **settings)
    rising, steady, none = (
        animator.generate("a fox", controls=[entry | {"scale": scale}]).frames for scale in ("steps:0:0,100%:1", 1, 0)
    )
    assert (rising != steady).any() and (rising != none).any()


@pytest.mark.full
@pytest.mark.parametrize(
    "others",
    [
        {"context_length": 4, "context_mode": "unet", "loop": True, "free_init": 2, "motion_scale": "0:0.5,-1:1"},
        {"context_length": 4, "context_mode": "plug", "noise_schedule": "free-noise", "scheduler": "euler-a"},
        {"continue_from": "{video}", "width": 64, "height": 64},
    ],
    ids=["loop", "plug", "continue"],
)
def test_controls_go_with_everything_else(settings, folder, sparse, video, others):
    filled = {key: value.format(video=video) if isinstance(value, str) else value for key, value in others.items()}
    settings |= {"num_frames": 6} | filled
    prompt = {"0": "a fox", "-1": "a boat"}
    controls = [f"{folder}={video}@0:1,-1:0.5", {"ref": str(sparse), "source": str(video), "frames": "1"}]
    found = np.asarray(generate(prompt, controls=controls, **settings).frames)
    assert (found != np.asarray(generate(prompt, **settings).frames)).any()


def test_the_source_and_scale_may_change_between_clips_of_loaded_weights(settings, folder, video, tmp_path):
    animator = load(controls=[f"{folder}={video}"], **settings)
    half = animator.generate("a fox", controls=[f"{folder}={video}@0.5"])
    assert (np.asarray(half.frames) == frames(controls=[f"{folder}={video}@0.5"], **settings)).all()
    with pytest.raises(UsageError, match="cannot change afterwards"):
        animator.generate("a fox", controls=[f"{tmp_path}={video}"])


def test_the_flag_renders_saves_what_the_network_saw_and_renders_again(settings, folder, video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["generate", "--prompt", "a fox", "--model", settings["model"], "--motion-module"]
    words += [settings["motion_module"], "--steps", 1, "-L", 3, "-W", 64, "-H", 64, "-s", 1, "-q", "--dtype", "fp32"]
    words += ["--control", f"{folder}={video}@0.5", "--set", "controls.0.end=0.9", "--save-control", "seen"]
    done = CliRunner().invoke(app, list(map(str, [*words, "-o", "fox.png", "--preprocess", "canny"])))
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "seen" / "1-0-square").iterdir()) == [
        f"{n:05d}.png" for n in range(3)
    ]
    edges = np.asarray(Image.open(tmp_path / "seen" / "1-0-square" / "00000.png"))
    assert set(np.unique(edges)) == {0, 255} and (edges > 0).mean() < 0.1
    config = read_recipe(tmp_path / "fox.png")["config"]
    assert config["controls"] == [{"source": "square.mp4", "ref": str(folder), "scale": 0.5, "end": 0.9}]
    assert config["preprocess"] == "canny"
    (tmp_path / "square.mp4").write_bytes(video.read_bytes())
    again = CliRunner().invoke(app, ["generate", "--from", "fox.png", "-o", "again.png", "-q"])
    assert again.exit_code == 0, again.output
    assert (np.asarray(Image.open("again.png")) == np.asarray(Image.open("fox.png"))).all()


@pytest.mark.parametrize(
    ("control", "error", "text"),
    [
        ("{folder}={none}", NotFound, "no picture or video"),
        ("{folder}={text}", UsageError, "neither a picture nor a video"),
        ("{folder}", UsageError, "does not name a control and its pictures"),
        ("{motion}={video}", UsageError, "is a motion module, not a ControlNet"),
        ("no-such-control={video}", NotFound, "unknown model alias"),
        (
            {"ref": "{folder}", "source": "{video}", "frames": "7"},
            UsageError,
            "`7` of `.*square.mp4`: there is no frame 7",
        ),
        ({"ref": "{folder}", "source": "{video}", "section": "9s"}, UsageError, "`9s` of `.*square.mp4`"),
        ({"ref": "{folder}", "source": "{video}", "start": 2}, UsageError, "controls.0.start"),
        ({"ref": "{folder}", "source": "{video}", "preprocess": "cany"}, UsageError, "controls.0.preprocess"),
        ({"source": "{video}"}, UsageError, "`controls.0` has no `ref`"),
        ({"ref": "{folder}", "source": "{video}", "after_end": "refuse"}, UsageError, "ends before the clip"),
        (
            {"ref": "{folder}", "source": "{video}", "start": 0.5, "end": 0.5},
            UsageError,
            "ends at 0.5 of the steps and",
        ),
        ("{folder}={video}@99", UsageError, "`scale` must be 10 or less"),
    ],
)
def test_mistakes_are_found_before_weights_load(settings, folder, video, tmp_path, control, error, text):
    (tmp_path / "notes.txt").write_text("a fox")
    names = {"folder": folder, "video": video, "none": tmp_path / "none.mp4", "text": tmp_path / "notes.txt"}
    names["motion"] = settings["motion_module"]

    def filled(value):
        return value.format(**names) if isinstance(value, str) else value

    entry = {key: filled(value) for key, value in control.items()} if isinstance(control, dict) else filled(control)
    with pytest.raises(error, match=text):
        load(controls=[entry], **settings | {"num_frames": 6})


def test_a_wrong_scale_is_named_by_its_place_and_its_control(settings, folder, video):
    for control, message, hint in (
        (f"{folder}={video}@99", "`.*@99`: `scale` must be 10 or less", "dance.mp4@0.8"),
        (f"{folder}={video}@nan", "`.*@nan`: `nan` is not a scale", "square.mp4@0.8"),
        (f"{folder}={video}@0:0,99:1", "`.*square.mp4@0:0.0,99:1.0`: there is no frame 99", "`100%`"),
    ):
        with pytest.raises(UsageError, match=message) as raised:
            load(controls=[control], **settings)
        assert hint in raised.value.hint


def test_one_picture_of_a_sparsectrl_is_frame_0(settings, sparse, video, tmp_path):
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(tmp_path / "grey.png")
    entry = {"ref": str(sparse), "source": str(tmp_path / "grey.png")}
    animator = load(controls=[entry], **settings)
    first, named, none = (
        animator.generate("a fox", controls=[entry | change]).frames for change in ({}, {"frames": "0"}, {"scale": 0})
    )
    assert (first == named).all() and (first != none).any()


def test_several_pictures_of_a_sparsectrl_need_their_frames(settings, sparse, tmp_path):
    (tmp_path / "pictures").mkdir()
    for number in range(2):
        Image.fromarray(np.full((64, 64, 3), 90 * number, np.uint8)).save(tmp_path / "pictures" / f"{number}.png")
    entry = {"ref": str(sparse), "source": str(tmp_path / "pictures")}
    with pytest.raises(UsageError, match="a SparseCtrl must know their frames") as raised:
        load(controls=[entry | {"frames": "0,-1"}, entry], **settings)
    assert raised.value.hint == "name them: `--set controls.1.frames=0,50%,-1`"
    with pytest.raises(UsageError, match="has no guess mode"):
        load(controls=[entry | {"frames": "0,-1", "guess_mode": True}], **settings)
    assert len(frames(controls=[entry | {"frames": "0,-1"}], **settings)) == 3


def test_a_sparsectrl_by_alias_brings_its_module_and_adapter():
    values = {}
    for layer in with_recommended([Layer("command line", {"model": "toonyou", "controls": ["sparsectrl-rgb=a.png"]})]):
        values |= layer.values
    assert (values["motion_module"], values["domain_adapter"]) == ("mm-v3", "v3-adapter@1.0")


def test_windows_longer_than_a_sparsectrl_sees_are_refused(settings, sparse, video):
    with pytest.raises(UsageError, match="sees 32 frames at once, and the motion module 40"):
        load(controls=[f"{sparse}={video}"], **settings | {"num_frames": 40, "motion_module": None})


def test_a_control_of_another_layout_does_not_fit(settings, video, tmp_path, make_unet):
    torch.manual_seed(0)
    ControlNetModel.from_unet(make_unet("one-level", dtype=torch.float32)).save_pretrained(tmp_path / "other")
    with pytest.raises(UsageError, match="does not fit the image model"):
        load(controls=[f"{tmp_path / 'other'}={video}"], **settings)


def test_the_folder_of_a_network_says_nothing_about_its_pictures(settings, folder, video, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "poses" / "mine")
    (plan,) = plan_controls(_config(settings, f"{copied}={video}"), [open_control(copied, settings["model"])])
    assert plan.preprocess == "none"
    edges = shutil.copytree(folder, tmp_path / "poses" / "my-canny-2")
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(photo)
    (plan,) = plan_controls(_config(settings, f"{edges}={photo}"), [open_control(edges, settings["model"])])
    assert plan.preprocess == "canny"
    seg = shutil.copytree(folder, tmp_path / "my-seg")
    with pytest.raises(UsageError, match="is no control picture, and no preprocessor makes one for"):
        plan_controls(_config(settings, f"{seg}={photo}"), [open_control(seg, settings["model"])])


def _config(settings, control):
    chosen = {key: settings[key] for key in ("num_frames", "width", "height", "seed")}
    return GenerateConfig(prompt="a fox", model="toy", controls=[control], **chosen)


def notes_of(**settings):
    return plan_renders([keyword_layer({"prompt": "a fox", **settings})]).notes


def test_a_late_source_is_said(settings, folder, video):
    notes = notes_of(**settings | {"num_frames": 6, "controls": [f"{folder}={video}"]})
    assert "square.mp4 ends before the clip and holds its last frame for 2 of its 6 frames" in notes


def test_a_control_that_no_step_is_for_is_said(settings, folder, video):
    entry = {"ref": str(folder), "source": str(video), "end": 0.4}
    said = "`controls.0` has no effect: no whole step of 2 is between 0 and 0.4"
    assert said in notes_of(**settings | {"controls": [entry]})
    assert said not in notes_of(**settings | {"controls": [entry | {"end": 0.5}]})


def test_what_loses_its_edges_is_said(settings, folder, sparse, video, tmp_path):
    wide = tmp_path / "wide.png"
    Image.new("RGB", (128, 64), "white").save(wide)
    controls = [f"{folder}={wide}", {"ref": str(sparse), "source": str(wide), "fit": "pad"}]
    regions = [f"{video}=a boat", f"{wide}=a boat"]
    notes = notes_of(**settings | {"controls": controls, "regions": regions, "images": [str(wide)]})
    said = "wide.png is 128x64 and is cropped to 64x64: `--set {}.fit=pad` keeps all of it"
    assert [note for note in notes if "is cropped" in note] == [
        said.format(key) for key in ("controls.0", "regions.1", "images.0")
    ]
    notes = notes_of(**settings | {"video": str(video), "mask": str(wide), "width": 64, "height": 48})
    assert [note for note in notes if "is cropped" in note] == [
        "square.mp4 is 64x64 and is cropped to 64x48: `--set video.fit=pad` keeps all of it",
        "wide.png is 128x64 and is cropped to 64x48: `--set mask.fit=pad` keeps all of it",
    ]


def test_a_source_is_looked_at_once_and_one_network_of_several_controls_is_loaded_once(
    settings, folder, sparse, video, tmp_path, monkeypatch
):
    edges = shutil.copytree(folder, tmp_path / "canny")
    copied = shutil.copy(video, tmp_path / "square.mp4")
    decoded, loaded = [], []
    read = decode.read_frames
    monkeypatch.setattr(
        decode, "read_frames", lambda m, t, numbers, size: decoded.append(size) or read(m, t, numbers, size)
    )
    twice = [f"{edges}={copied}", f"{edges}={copied}@0.5"]
    pictures = [{"ref": str(sparse), "source": str(video), "frames": n, "scale": s} for n, s in (("0", 1), ("1", 0.5))]
    animator = load(controls=[*twice, *pictures], emit=lambda event: loaded.append(str(event)), **settings)
    assert decoded.count((128, 128)) == 1
    clip = animator.generate("a fox")
    assert decoded.count((128, 128)) == 1
    assert sum("Loading" in line and "control" in line for line in loaded) == 2, loaded
    alone = animator.generate("a fox", controls=[f"{edges}={copied}@1.5", f"{edges}={copied}@0", *pictures])
    assert np.abs(clip.frames.astype(int) - alone.frames).max() <= 1  # effects of one network and picture add up
