"""`image_method`: how pictures become frames, what `auto` chooses, and what each method asks for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from diffusers import UNet2DConditionModel
from PIL import Image

from animdiff_cli import generate, load
from animdiff_cli.config.layers import Layer
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.jobs.batch.plan import plan_batch
from animdiff_cli.jobs.render_plan import plan_from_recipe, plan_renders
from animdiff_cli.outputs import read_recipe
from animdiff_cli.registry.catalog import shipped_catalog
from animdiff_cli.registry.catalog_files import user_catalog_path
from animdiff_cli.registry.store import local_path
from animdiff_cli.weights.identify import identify
from tests.toy_networks import sparsectrl_tensors, write_controls


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Give toy weights the aliases of published ones. Returns a function that takes kind, version and path by alias."""
    monkeypatch.setenv("ANIMDIFF_CONFIG", str(tmp_path / "config"))

    def add(**weights):
        entries = [
            {"alias": alias.replace("_", "-"), "kind": kind, "base": "sd15", "description": "toy", "path": str(path)}
            | ({"version": version} if version else {})
            for alias, (kind, version, path) in weights.items()
        ]
        path = user_catalog_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        known = yaml.safe_load(path.read_text()) if path.exists() else []
        path.write_text(yaml.safe_dump(known + entries))

    return add


@pytest.fixture(scope="session")
def sparse(toy_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("sparse") / "sparsectrl_rgb.ckpt"
    write_controls(toy_model / "unet", path.with_name("plain"), path)
    return path


@pytest.fixture
def aliases(here, toy_model, toy_motion_file):
    here(toy=("base", None, toy_model), mm_v3=("motion-module", "v3", toy_motion_file))


@pytest.fixture
def settings(small):
    return small | {"model": "toy", "motion_module": "mm-v3", "guidance_scale": 1}


def planned(**settings):
    plan = plan_renders([Layer("test", {"prompt": "a fox", **settings})])
    return plan.configs[0], plan.notes


def without(settings, key):
    return {name: value for name, value in settings.items() if name != key}


def test_auto_takes_the_first_method_whose_weights_are_here(aliases, here, settings, picture, toy_pia_file, sparse):
    images = {"images": [str(picture)]}
    unnamed = without(settings, "motion_module") | images
    config, notes = planned(**settings, **images)
    assert config.image_method == "blend" and len(config.images) == 1
    assert notes[0] == "`--image-method auto` chose blend, which needs no further weights"
    here(pia=("motion-module", "pia", toy_pia_file))
    config, notes = planned(**unnamed)
    assert (config.image_method, config.motion_module) == ("pia", "pia")
    assert notes[0] == "`--image-method auto` chose pia, by `pia`"
    assert planned(**settings, **images)[0].image_method == "blend"  # the module stays
    here(sparsectrl_rgb=("sparsectrl", "v3", sparse))
    config, notes = planned(**settings, **images)
    assert (config.image_method, config.images) == ("sparsectrl", ())
    assert config.controls == ({"ref": "sparsectrl-rgb", "source": str(picture), "frames": "0%"},)
    assert notes[0] == "`--image-method auto` chose sparsectrl, by `sparsectrl-rgb`"
    assert planned(**settings | {"motion_module": "pia"}, **images)[0].image_method == "pia"
    assert planned(**settings, **images, denoise=0.5)[0].image_method == "blend"


def test_a_sparsectrl_is_told_by_what_its_file_takes(aliases, here, settings, picture, sparse, toy_model):
    scribble = sparse.with_name("my_rgb_drawings.ckpt")
    unet = UNet2DConditionModel.from_pretrained(toy_model / "unet")
    torch.save({"state_dict": sparsectrl_tensors(unet, rgb=False)}, scribble)
    here(my_rgb_drawings=("sparsectrl", "v3", scribble))
    assert planned(**settings, images=[str(picture)])[0].image_method == "blend"
    here(frames=("sparsectrl", "v3", sparse))
    config, notes = planned(**settings, images=[str(picture)])
    assert config.controls[0]["ref"] == "frames"
    assert notes[0] == "`--image-method auto` chose sparsectrl, by `frames`"


def test_the_pocket_model_has_one_of_its_own(picture):
    images = {"model": "pocket", "images": [str(picture)], "seed": 1, "width": 64, "height": 64}
    config, notes = planned(**images)
    assert config.controls == ({"ref": "pocket-sparse", "source": str(picture), "frames": "0%"},)
    assert notes == ("`--image-method auto` chose sparsectrl, by `pocket-sparse`",)
    assert planned(**images, denoise=0.5)[0].image_method == "blend"
    with pytest.raises(UsageError, match="is not one picture"):
        planned(**images | {"images": [str(_two_pictures(picture))]})


def _two_pictures(picture):
    folder = picture.parent / "two"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.png").write_bytes(picture.read_bytes())
    return folder


def test_every_sparsectrl_of_the_catalog_says_what_it_takes():
    for entry in shipped_catalog().of_kind("sparsectrl"):
        assert entry.condition
        if entry.bundled:
            assert f"condition: {entry.condition}" in identify(local_path(entry)).notes


@pytest.mark.parametrize(("method", "alias"), [("pia", "pia"), ("sparsectrl", "sparsectrl-rgb")])
def test_a_method_without_its_weights_says_what_to_fetch(aliases, settings, picture, method, alias):
    with pytest.raises(NotFound, match=f"`{alias}` is not on this machine") as raised:
        planned(**without(settings, "motion_module"), images=[str(picture)], image_method=method)
    assert raised.value.hint == f"run `animdiff fetch {alias}`"


@pytest.mark.parametrize("method", ["pia", "sparsectrl"])
def test_a_method_that_the_image_model_does_not_have_is_refused(toy_sdxl_model, picture, method):
    with pytest.raises(UsageError, match=r"there is no .* for the image model") as raised:
        planned(model=str(toy_sdxl_model), images=[str(picture)], image_method=method)
    assert "blend" in raised.value.hint


def test_pia_with_sdxl_is_refused_before_it_is_fetched(picture):
    for method in ("auto", "pia"):
        with pytest.raises(UsageError, match="`pia` is a motion module for sd15, and the image model `sdxl` is sdxl"):
            planned(model="sdxl", motion_module="pia", images=[str(picture)], image_method=method)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"motion_module": "pia"}, "animates a picture, and there is none"),
        ({"motion_module": "pia", "images": 1, "image_method": "blend"}, "leaves its picture out"),
        ({"motion_modules": ["pia@0.5", "mm-v3"], "images": 1}, "cannot be mixed"),
        ({"motion_module": "mm-v3", "images": 1, "image_method": "pia"}, r"PIA is a motion module of its own"),
        ({"motion_module": "animatelcm", "images": 1, "image_method": "pia"}, r"has `animatelcm` \(lcm\)"),
        ({"motion_module": "pia", "images": 1, "continue_from": 1}, "cannot be combined"),
    ],
)
def test_what_does_not_go_with_pia_is_refused_first(
    aliases, here, settings, picture, toy_pia_file, toy_motion_file, changes, message
):
    here(pia=("motion-module", "pia", toy_pia_file), animatelcm=("motion-module", "lcm", toy_motion_file))
    changes = {key: value if value != 1 else str(picture) for key, value in changes.items()}
    if "images" in changes:
        changes["images"] = [changes["images"]]
    with pytest.raises(UsageError, match=message):
        planned(**without(settings, "motion_module") | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pia_magnitude": 2}, "`pia_magnitude` is a setting of PIA"),
        ({"image_method": "blend"}, "`--image-method` has no effect without a picture"),
    ],
)
def test_settings_without_effect_are_refused_where_they_are_typed(aliases, settings, changes, message):
    with pytest.raises(UsageError, match=message):
        plan_renders([Layer("test", {"prompt": "a fox", **settings}), Layer("--set", changes)])
    assert planned(**settings | changes)[0].seed == 1  # a preset may have them


@pytest.mark.parametrize("method", ["auto", "sparsectrl", "blend"])
def test_pictures_need_a_motion_module_by_any_method(picture, method):
    with pytest.raises(UsageError, match="`--image` needs a motion module") as refusal:
        planned(model="pocket", motion_module=None, images=[str(picture)], image_method=method)
    assert refusal.value.hint == "leave `--no-motion` out"


def test_denoise_is_no_setting_of_pia(aliases, settings, toy_pia_file, picture):
    layers = [
        Layer("test", {"prompt": "a fox", **settings} | {"motion_module": str(toy_pia_file), "images": [str(picture)]})
    ]
    with pytest.raises(UsageError, match="`--denoise` has no effect on pictures by pia"):
        plan_renders([*layers, Layer("--set", {"denoise": 0.5})])


def test_pia_renders_from_a_picture_and_its_recipe_does_again(small, toy_pia_file, picture, tmp_path):
    settings = small | {"motion_module": toy_pia_file, "num_frames": 4, "guidance_scale": 2}
    Image.new("RGB", (64, 64), (20, 250, 20)).save(tmp_path / "other.png")
    clip = generate("a fox", images=[picture], **settings)
    recorded = clip.recipe["config"]
    assert (recorded["image_method"], recorded["images"]) == ("pia", ["picture.png"])
    assert "denoise" not in recorded and len(clip.recipe["inputs"]["images"]) == 1
    clip.save(tmp_path / "clip.gif")
    plan = plan_from_recipe(tmp_path / "clip.gif", [Layer("test", {"motion_module": str(toy_pia_file)})])
    assert plan.configs[0].image_method == "pia" and not plan.notes
    animator = load(images=[picture], **settings)
    for change in (
        {"pia_magnitude": 2},
        {"pia_variant": "style"},
        {"loop": True},
        {"images": [f"{picture}@-1"]},
        {"images": [tmp_path / "other.png"]},
    ):
        assert (animator.generate("a fox", **change).frames != clip.frames).any(), change
    assert np.array_equal(animator.generate("a fox").frames, clip.frames)


def of_pocket(layer, **more):
    values = {"prompt": "a fox", "model": "pocket", "width": 128, "height": 96, **more}
    return plan_renders([Layer("test", values), layer])


def test_messages_on_pictures_by_a_sparsectrl_name_pictures(picture):
    by_flag = Layer("flags", {"images": [str(picture)]}, {"images": "--image"})
    cropped = "picture.png is 64x64 and is cropped to 128x96: `{}` keeps all of it"
    for own in ((), (f"pocket-outline={picture}",)):
        notes = of_pocket(by_flag, controls=own).notes
        said = ["--set images.0.fit=pad"] if not own else ["--set controls.0.fit=pad", "--set images.0.fit=pad"]
        assert [note for note in notes if "cropped" in note] == [cropped.format(way) for way in said]
    assert not any("cropped" in note for note in of_pocket(replace(by_flag, values=FITTED | by_flag.values)).notes)
    in_file = Layer("jobs.yaml", {"images": [str(picture)]}, {"images": "jobs.yaml, line 3"})
    assert cropped.format("images.0.fit: pad") in of_pocket(in_file).notes


FITTED = {"width": 64, "height": 64}


def test_errors_on_pictures_by_a_sparsectrl_name_pictures(picture):
    with pytest.raises(UsageError, match="two pictures of one SparseCtrl are at frame 0") as raised:
        of_pocket(Layer("flags", {"images": [f"{picture}@0", f"{picture}@0"]}), controls=[f"pocket-outline={picture}"])
    assert (
        raised.value.hint == "give each its own frames, as in `--set images.0.frames=0` and `--set images.1.frames=-1`"
    )
    with pytest.raises(UsageError, match=r"`99` of `.*picture.png`: there is no frame 99"):
        of_pocket(Layer("flags", {"images": [f"{picture}@99"]}))


def test_a_preprocessor_is_for_controls_not_for_pictures(picture):
    typed = Layer("flags", {"preprocess": "canny", "images": [str(picture)]}, {"preprocess": "--preprocess"})
    with pytest.raises(UsageError, match="`--preprocess` has no effect without a control"):
        of_pocket(typed)
    plan = of_pocket(typed, controls=[f"pocket-outline={picture}"])
    assert [note for note in plan.notes if "becomes" in note] == ["picture.png becomes a control picture by `canny`"]


def test_pictures_by_a_sparsectrl_are_one_control(aliases, here, settings, picture, sparse, tmp_path):
    here(sparsectrl_rgb=("sparsectrl", "v3", sparse))
    Image.new("RGB", (64, 64), (20, 250, 20)).save(tmp_path / "last.png")
    both = ["a.png", "b.png", "c.png"]
    for name, path in zip(both, (picture, tmp_path / "last.png", picture), strict=True):
        (tmp_path / name).write_bytes(path.read_bytes())
    settings |= {"num_frames": 3}
    images = [f"{tmp_path}/a.png", f"{tmp_path}/b.png@-1"]
    clip = generate("a fox", images=images, image_method="sparsectrl", **settings)
    (folder := tmp_path / "both").mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes((tmp_path / name).read_bytes())
    together = [{"ref": "sparsectrl-rgb", "source": str(folder), "frames": "0,-1"}]
    assert np.array_equal(generate("a fox", controls=together, **settings).frames, clip.frames)
    recorded = clip.recipe["config"]
    assert recorded["image_method"] == "sparsectrl" and "images" not in recorded
    assert [control["source"] for control in recorded["controls"]] == ["a.png", "b.png"]
    assert len(clip.recipe["weights"]["controls"]) == 2
    clip.save(tmp_path / "clip.gif")
    change = Layer("test", {"images": [f"{tmp_path}/c.png"]})
    (control,) = plan_from_recipe(tmp_path / "clip.gif", [change]).configs[0].controls
    assert control["source"] == f"{tmp_path}/c.png"
    assert read_recipe(tmp_path / "clip.gif")["config"]["controls"][1]["frames"] == "-1"
    with pytest.raises(UsageError, match="two pictures of one SparseCtrl are at frame 0"):
        planned(**settings, images=[f"{tmp_path}/a.png@0", f"{tmp_path}/b.png@0"], image_method="sparsectrl")


def test_an_explicit_control_and_pictures_of_a_sparsectrl_add_up(aliases, here, settings, picture, sparse):
    here(sparsectrl_rgb=("sparsectrl", "v3", sparse))
    config, _ = planned(
        **settings,
        images=[str(picture)],
        controls=[{"ref": str(sparse), "source": str(picture), "frames": [1]}],
        image_method="sparsectrl",
    )
    assert [control["ref"] for control in config.controls] == [str(sparse), "sparsectrl-rgb"]


def test_jobs_of_a_batch_choose_their_own_method(aliases, here, settings, picture, toy_pia_file):
    here(pia=("motion-module", "pia", toy_pia_file))
    common = {**settings, "prompt": "a fox", "images": [str(picture)]}
    text = yaml.safe_dump({"defaults": common, "matrix": {"motion_module": ["mm-v3", "pia"]}})
    plan = plan_batch(text, "batch.yaml")
    assert [job.config.image_method for job in plan.jobs] == ["blend", "pia"]
    assert [note for note in plan.notes if "auto" in note] == [
        "`--image-method auto` chose blend, which needs no further weights",
        "`--image-method auto` chose pia, by `pia`",
    ]
