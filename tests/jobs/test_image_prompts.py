"""`--image-prompt` from the flag to the recipe: files of every layout, and what is refused before weights load."""

import json

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from animdiff_cli import generate, load
from animdiff_cli.cli import app
from animdiff_cli.config.layers import Layer
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.diffusion.image_prompt import open_ip_adapter
from animdiff_cli.errors import IntegrityError, NotFound, UsageError
from animdiff_cli.files.hashing import sha256_of
from animdiff_cli.jobs.compatibility import check_compatibility
from animdiff_cli.jobs.missing_weights import find_missing
from animdiff_cli.jobs.render_plan import plan_renders
from animdiff_cli.jobs.weight_bytes import count_weights
from animdiff_cli.outputs import read_recipe
from animdiff_cli.registry.catalog import load_catalog
from animdiff_cli.registry.recommend import with_recommended
from animdiff_cli.weights.identify import identify
from tests.toy_networks import flat, ip_adapter_tensors, make_image_encoder

WEIGHTS = "model.safetensors"
SETTINGS = {"prompt": "a fox", "model": "toonyou", "motion_module": "mm-v3", "seed": 1}


@pytest.fixture(scope="module")
def folder(toy_model, tmp_path_factory):
    """IP-Adapters of random weights that fit `toy_model`, laid out as published, with their image encoder."""
    path = tmp_path_factory.mktemp("ip") / "models"
    path.mkdir()
    unet = UNet2DConditionModel.from_pretrained(toy_model / "unet")
    save_file(flat(ip_adapter_tensors(unet, "plain", width=16)), path / "plain.safetensors")
    torch.save(ip_adapter_tensors(unet, "plain", width=16), path / "plain.bin")
    save_file(flat(ip_adapter_tensors(unet, "plus", width=32)), path / "plus.safetensors")
    make_image_encoder().save_pretrained(path / "image_encoder")
    alone = path.parent / "folder"
    alone.mkdir()
    (alone / "ip-adapter.safetensors").write_bytes((path / "plain.safetensors").read_bytes())
    make_image_encoder().save_pretrained(alone / "image_encoder")
    return path


@pytest.fixture(scope="module")
def fox(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "fox.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def settings(small):
    return small | {"steps": 2, "num_frames": 3, "guidance_scale": 2}


def frames(**settings):
    return np.asarray(generate("a fox", **settings).frames)


def test_a_picture_changes_the_clip_and_the_recipe_records_it(settings, folder, fox):
    clip = generate("a fox", image_prompts=[f"{folder}/plain.safetensors={fox}@0.5"], **settings)
    assert (np.asarray(clip.frames) != frames(**settings)).any()
    assert clip.recipe["config"]["image_prompts"] == [f"{folder}/plain.safetensors={fox.name}@0.5"]
    assert clip.recipe["inputs"] == {"image_prompts": {"fox.png": sha256_of(fox)}}
    assert clip.recipe["weights"]["image_encoder"] == {WEIGHTS: sha256_of(folder / "image_encoder" / WEIGHTS)}


def test_a_scale_of_0_is_no_picture(settings, folder, fox):
    assert (frames(image_prompts=[f"{folder}/plus.safetensors={fox}@0"], **settings) == frames(**settings)).all()


def test_every_layout_of_the_file_renders_the_same_frames(settings, folder, fox):
    wanted = frames(image_prompts=[f"{folder}/plain.safetensors={fox}"], **settings)
    for ref in (folder / "plain.bin", folder.parent / "folder"):
        assert (frames(image_prompts=[f"{ref}={fox}"], **settings) == wanted).all(), ref
    encoder = folder / "image_encoder"
    named = frames(image_prompts=[f"{folder}/plain.bin={fox}"], image_encoder=encoder, **settings)
    assert (named == wanted).all()


def test_fields_of_a_record_change_the_clip(settings, folder, fox):
    entry = {"ref": str(folder / "plain.safetensors"), "source": str(fox)}
    animator = load(image_prompts=[entry], **settings)
    whole = animator.generate("a fox").frames
    for field in (
        {"start": 0.5},
        {"end": 0.5},
        {"fit": "stretch"},
        {"scale": {0: 1, -1: 0}},
        {"scale": "steps:0:0,1:1"},
    ):
        assert (animator.generate("a fox", image_prompts=[entry | field]).frames != whole).any(), field


@pytest.mark.full
@pytest.mark.parametrize(
    "others",
    [
        {"context_length": 4, "context_mode": "unet", "loop": True, "free_init": 2, "motion_scale": "0:0.5,-1:1"},
        {"context_length": 4, "context_mode": "plug", "noise_schedule": "free-noise", "scheduler": "heun"},
        {"continue_from": "{clip}"},
        {"video": "{clip}", "denoise": 0.7, "steps": 3},
    ],
    ids=["loop", "plug", "continue", "video"],
)
def test_pictures_go_with_everything_else(settings, folder, fox, tmp_path, others):
    clip = generate("a boat", **settings).save(tmp_path / "clip.mp4")
    filled = {key: value.format(clip=clip) if isinstance(value, str) else value for key, value in others.items()}
    settings |= {"num_frames": 6} | filled
    prompt = {"0": "a fox", "-1": "a boat"}
    entry = {"ref": str(folder / "plus.safetensors"), "source": str(fox)}
    found = generate(prompt, image_prompts=[entry, entry | {"scale": "0:0,-1:1"}], **settings).frames
    assert (np.asarray(found) != np.asarray(generate(prompt, **settings).frames)).any()


def test_the_picture_and_scale_may_change_between_clips_of_loaded_weights(settings, folder, fox, tmp_path):
    ref = folder / "plain.safetensors"
    animator = load(image_prompts=[f"{ref}={fox}"], **settings)
    half = animator.generate("a fox", image_prompts=[f"{ref}={fox}@0.5"])
    assert (np.asarray(half.frames) == frames(image_prompts=[f"{ref}={fox}@0.5"], **settings)).all()
    with pytest.raises(UsageError, match="cannot change afterwards"):
        animator.generate("a fox", image_prompts=[f"{folder}/plus.safetensors={fox}"])


def test_the_flag_renders_and_renders_again(settings, folder, fox, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["generate", "--prompt", "a fox", "--model", settings["model"], "--motion-module"]
    words += [settings["motion_module"], "--steps", 1, "-L", 3, "-W", 64, "-H", 64, "-s", 1, "-q", "--dtype", "fp32"]
    words += ["--image-prompt", f"{folder}/plain.bin={fox}@0:1,-1:0.2", "--set", "image_prompts.0.end=0.9"]
    done = CliRunner().invoke(app, list(map(str, [*words, "-o", "clip.png"])))
    assert done.exit_code == 0, done.output
    entry = {"source": "fox.png", "ref": f"{folder}/plain.bin", "scale": {"0": 1.0, "-1": 0.2}, "end": 0.9}
    assert read_recipe(tmp_path / "clip.png")["config"]["image_prompts"] == [entry]
    (tmp_path / "fox.png").write_bytes(fox.read_bytes())
    done = CliRunner().invoke(app, ["generate", "--from", "clip.png", "-o", "again.png", "-q"])
    assert done.exit_code == 0, done.output
    assert (np.asarray(Image.open("again.png")) == np.asarray(Image.open("clip.png"))).all()


@pytest.mark.parametrize(
    ("prompt", "error", "text"),
    [
        ("{plain}={none}", NotFound, "no picture or video"),
        ("{plain}={text}", UsageError, "neither a picture nor a video"),
        ("{plain}", UsageError, "does not name an image prompt and its pictures"),
        ("{motion}={fox}", UsageError, "is a motion module, not an IP-Adapter"),
        ("{faceid}={fox}", UsageError, "is an IP-Adapter FaceID, which needs face embeddings"),
        ("{faceid_plus}={fox}", UsageError, "is an IP-Adapter FaceID, which needs face embeddings"),
        ("{few}={fox}", UsageError, "does not fit the image model toy: it has 2 layers, the model"),
        ("{other}={fox}", UsageError, "does not fit the image model toy: a layer of it takes 48 numbers"),
        ("{wide}={fox}", UsageError, "takes 24 features of a picture, and the image encoder image_encoder returns 16"),
        ("{alone}={fox}", NotFound, "needs an image encoder"),
        ("{cut}={fox}", IntegrityError, "lacks keys or values"),
        ("no-such-adapter={fox}", NotFound, "unknown model alias"),
        ({"ref": "{plain}", "source": "{fox}", "frames": "7"}, UsageError, "`7` of `.*`: there is no frame 7"),
        ({"ref": "{plain}", "source": "{fox}", "end": 2}, UsageError, "image_prompts.0.end"),
    ],
)
def test_mistakes_are_found_before_weights_load(settings, folder, fox, tmp_path, prompt, error, text, toy_model):
    unet = UNet2DConditionModel.from_pretrained(toy_model / "unet")
    plain = ip_adapter_tensors(unet, "plain", width=16)
    names = {
        "fox": fox,
        "none": tmp_path / "none.png",
        "text": tmp_path / "notes.txt",
        "motion": settings["motion_module"],
    }
    names |= {"plain": folder / "plain.safetensors", "alone": tmp_path / "alone.safetensors"}
    names["text"].write_text("a fox")
    save_file(flat(plain), names["alone"])
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "image_encoder").symlink_to(folder / "image_encoder")
    face = {"proj.0.weight": torch.zeros(32, 16), "proj.2.weight": torch.zeros(128, 32), "norm.weight": torch.zeros(32)}
    plus = {"perceiver_resampler.proj_in.weight": torch.zeros(8, 8), "proj.0.weight": torch.zeros(8, 8)}
    files = {
        "faceid": {**plain, "image_proj": face},
        "faceid_plus": {**plain, "image_proj": plus},
        "few": {**plain, "ip_adapter": {k: v for k, v in plain["ip_adapter"].items() if k[:2] in ("1.", "3.")}},
        "other": {**plain, "ip_adapter": {k: torch.zeros(len(v), 48) for k, v in plain["ip_adapter"].items()}},
        "wide": ip_adapter_tensors(unet, "plain", width=24),
        "cut": {**plain, "ip_adapter": {k: v for k, v in plain["ip_adapter"].items() if k != "5.to_v_ip.weight"}},
    }
    for name, tensors in files.items():
        names[name] = tmp_path / "models" / f"{name}.safetensors"
        save_file(flat(tensors), names[name])

    def filled(value):
        return value.format(**names) if isinstance(value, str) else value

    entry = {key: filled(value) for key, value in prompt.items()} if isinstance(prompt, dict) else filled(prompt)
    with pytest.raises(error, match=text):
        load(image_prompts=[entry], **settings)


def test_an_adapter_of_another_base_is_refused(folder, fox, tmp_path, toy_model):
    layers = {f"{number}.to_{role}_ip.weight": torch.zeros(8, 768) for number in (1, 3) for role in "kv"}
    plain = {"proj.weight": torch.zeros(3072, 16), "norm.weight": torch.zeros(768)}
    save_file(flat({"image_proj": plain, "ip_adapter": layers}), tmp_path / "sd.safetensors")
    config = json.loads((toy_model / "unet" / "config.json").read_text()) | {"cross_attention_dim": 2048}
    (tmp_path / "xl" / "unet").mkdir(parents=True)
    (tmp_path / "xl" / "unet" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="is an IP-Adapter for sd15, and the image model xl is sdxl"):
        open_ip_adapter(tmp_path / "sd.safetensors", tmp_path / "xl")
    xl = {**SETTINGS, "model": "dynavision-xl", "motion_module": "mm-sdxl", "image_encoder": "clip-vit-h"}
    check_compatibility(GenerateConfig(**xl, image_prompts=[f"ip-adapter-plus-sdxl={fox}"]).model_dump())
    with pytest.raises(UsageError, match="`ip-adapter-sdxl` is an IP-Adapter for sdxl, and the image model `toonyou`"):
        check_compatibility(GenerateConfig(**{**SETTINGS, "image_prompts": [f"ip-adapter-sdxl={fox}"]}).model_dump())


def test_an_image_encoder_without_a_picture_is_refused(settings, folder):
    with pytest.raises(UsageError, match="has no effect without an image prompt"):
        load(image_encoder=folder / "image_encoder", **settings)


def test_the_memory_of_adapters_and_encoder_is_counted_once(settings, folder, fox, toy_model):
    prompt = f"{folder}/plain.safetensors={fox}"
    names = {**settings, "model": str(toy_model), "motion_module": None, "prompt": "a fox"}
    layer = [Layer("test", {**names, "image_prompts": [prompt, prompt]})]
    plan, without = plan_renders(layer), plan_renders([Layer("test", names)])
    added = count_weights(plan.weights, plan.device).total - count_weights(without.weights, plan.device).total
    files = (folder / "plain.safetensors", folder / "image_encoder" / WEIGHTS)
    assert added == 4 * sum(tensor.numel() for file in files for tensor in load_file(file).values())


def test_files_are_identified(folder):
    plain, plus = identify(folder / "plain.bin"), identify(folder / "plus.safetensors")
    assert (plain.kind, plus.kind, identify(folder / "image_encoder").kind) == (
        "ip-adapter",
        "ip-adapter",
        "image-encoder",
    )
    assert plain.notes == ("plain: 4 tokens for a picture, from width 16",)
    assert plus.notes == ("plus: 5 tokens for a picture, from width 32",)


def test_an_alias_brings_its_image_encoder():
    values = {"model": "toonyou", "image_prompts": ["ip-adapter-plus=fox.png"]}
    for layer in with_recommended([Layer("command line", values)]):
        values = layer.values | values
    assert values["image_encoder"] == "clip-vit-h"
    assert {"ip-adapter-plus", "clip-vit-h"} <= set(find_missing(values))
    for entry in load_catalog().of_kind("ip-adapter"):
        if entry.bundled:  # with its image encoder
            continue
        assert load_catalog().find(entry.requires[0]).kind == "image-encoder"
        assert parse_ref(entry.sources[0]).file


def test_loras_merged_or_with_a_curve_go_with_pictures(settings, folder, fox, make_lora):
    path, _ = make_lora()
    prompt = {"image_prompts": [f"{folder}/plain.safetensors={fox}"]}
    merged = frames(loras=[f"{path}@0.5"], **prompt, **settings)
    scheduled = frames(loras=[f"{path}@0:0.5,-1:0.5"], **prompt, **settings)
    assert np.abs(merged.astype(int) - scheduled).max() <= 1
    assert (merged != frames(**prompt, **settings)).any()
    assert (merged != frames(loras=[f"{path}@0.5"], **settings)).any()
