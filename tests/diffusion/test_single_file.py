import json
import os
import shutil
from typing import get_args

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from animdiff_cli.core.choices import Scheduler
from animdiff_cli.diffusion.build import check_model, load_components, part_config
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.schedulers import make_scheduler
from animdiff_cli.diffusion.source import open_model
from animdiff_cli.diffusion.text import encode_prompt
from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.jobs.convert import convert_weights, plan_conversion
from animdiff_cli.jobs.generate import generate
from animdiff_cli.weights.checkpoint_folder import CONFIGS_KEY
from animdiff_cli.weights.model_configs import tokenizer_files

PLAN = DevicePlan("cpu", 0, "fp32")


@pytest.fixture(scope="session")
def toy_checkpoint(toy_model, tmp_path_factory):
    """Write `toy_model` as one file in the layout of Civitai's checkpoints; returns its path."""
    path = tmp_path_factory.mktemp("single") / "toy.safetensors"
    convert_weights(plan_conversion(str(toy_model), to="original", output=path))
    return path


def test_a_single_file_loads_to_the_weights_of_the_folder_it_came_from(toy_model, toy_checkpoint):
    folder, single = load_components(toy_model, PLAN), load_components(toy_checkpoint, PLAN)
    for part in ("unet", "vae", "text_encoder"):
        ours, theirs = getattr(single, part).state_dict(), getattr(folder, part).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    texts = [encode_prompt(parts, "a fox").embeds for parts in (folder, single)]
    assert torch.equal(*texts)


def test_it_renders_the_same_frames(toy_model, toy_checkpoint, toy_motion_file):
    settings = {
        "motion_module": str(toy_motion_file),
        "seed": 1,
        "steps": 2,
        "num_frames": 2,
        "width": 64,
        "height": 64,
    }
    folder = generate("a fox", model=str(toy_model), dtype="fp32", **settings)
    single = generate("a fox", model=str(toy_checkpoint), dtype="fp32", **settings)
    assert np.array_equal(folder.frames, single.frames)
    assert list(single.recipe["weights"]["model"]) == ["toy.safetensors"]


def test_a_pickle_that_remembers_nothing_loads_with_the_tokenizer_of_clip(tmp_path):
    """As trainers save them: `state_dict`, position ids, no configs. Narrow, but with the vocabulary of CLIP."""
    parts, checkpoint = narrow_parts(), tmp_path / "a.ckpt"
    torch.save(as_trained(parts, tmp_path), checkpoint)
    loaded = load_components(checkpoint, PLAN)
    for name, part in parts.items():
        ours = getattr(loaded, name).state_dict()
        assert all(torch.equal(ours[key], value) for key, value in part.state_dict().items())
    assert loaded.tokenizer("a photo of an astronaut").input_ids == [49406, 320, 1125, 539, 550, 18376, 49407]
    assert loaded.beta_schedule == "scaled_linear"


def test_a_pickle_of_the_older_kind_renders_without_torch_load(tmp_path, monkeypatch):
    """Its tensors are read on demand, as those of a zip."""
    checkpoint = tmp_path / "old.ckpt"
    torch.save(as_trained(narrow_parts(), tmp_path), checkpoint, _use_new_zipfile_serialization=False)
    read, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda path, **more: read.append(path) or load(path, **more))
    clip = generate("a fox", model=checkpoint, motion_module=None, steps=1, num_frames=1, width=64, height=64, seed=1)
    assert clip.frames.shape == (1, 64, 64, 3)
    assert read == []


def as_trained(parts, folder):
    """Lay the parts out as a trainer's checkpoint: `state_dict`, position ids, no configs."""
    for name, part in parts.items():
        part.save_pretrained(folder / "parts" / name)
    (folder / "parts" / "tokenizer").mkdir()
    for name, text in tokenizer_files("sd15", "tokenizer").items():
        (folder / "parts" / "tokenizer" / name).write_bytes(text)
    DDIMScheduler(beta_schedule="scaled_linear").save_pretrained(folder / "parts" / "scheduler")
    plan = plan_conversion(str(folder / "parts"), to="original", output=folder / "a.safetensors")
    ids = {"cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None]}
    return {"state_dict": load_file(convert_weights(plan).path) | ids, "global_step": 1}


def narrow_parts():
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        cross_attention_dim=64,
        attention_head_dim=8,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=2,
    )
    text = CLIPTextConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=1)
    return {"unet": unet, "vae": vae, "text_encoder": CLIPTextModel(text)}


def test_a_motion_module_is_no_image_model(toy_motion_file):
    with pytest.raises(UsageError, match="is a motion module, not an image model"):
        check_model(toy_motion_file)


def test_a_checkpoint_without_its_vae_says_so_before_loading(toy_checkpoint, tmp_path):
    path = tmp_path / "novae.safetensors"
    save_file({k: v for k, v in load_file(toy_checkpoint).items() if not k.startswith("first_stage_model.")}, path)
    with pytest.raises(IntegrityError, match="has no vae"):
        check_model(path)


def test_the_config_is_read_off_the_shapes(toy_model, toy_checkpoint):
    for part, key in (("unet", "block_out_channels"), ("text_encoder", "num_hidden_layers")):
        assert list(np.atleast_1d(part_config(toy_checkpoint, part)[key])) == list(
            np.atleast_1d(part_config(toy_model, part)[key])
        )


def test_a_cut_file_of_a_folder_is_named_with_its_part(toy_model, tmp_path):
    shutil.copytree(toy_model, tmp_path / "model")
    cut = tmp_path / "model" / "text_encoder" / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-9])
    with pytest.raises(IntegrityError, match=r"^text_encoder/model\.safetensors is not a valid safetensors file"):
        load_components(tmp_path / "model", PLAN)


def test_keys_that_no_picture_needs_are_left_out(toy_checkpoint, tmp_path):
    weights = load_file(toy_checkpoint)
    with safe_open(toy_checkpoint, "pt") as file:
        metadata = file.metadata()
    inert = {
        "v_pred": torch.tensor([]),
        "ztsnr": torch.tensor([]),
        "logvar": torch.zeros(9),
        "model_ema.decay": torch.zeros(1),
    }
    renamed = {k.replace("diffusion_model.", "diffusion_model._orig_mod."): v for k, v in weights.items()}
    save_file(renamed | inert, tmp_path / "a.safetensors", metadata)
    assert open_model(tmp_path / "a.safetensors").notes == ()
    check_model(tmp_path / "a.safetensors")
    save_file(weights | {"strange.thing": torch.zeros(9)}, tmp_path / "b.safetensors", metadata)
    check_model(tmp_path / "b.safetensors")
    assert "1 unknown weights are left out, such as `strange.thing`" in open_model(tmp_path / "b.safetensors").notes[0]


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_an_unknown_weight_inside_a_part_of_a_folder_is_left_out_with_one_note(toy_model, tmp_path, part):
    model = shutil.copytree(toy_model, tmp_path / "model")
    path = next((model / part).glob("*.safetensors"))
    save_file(load_file(path) | {"strange.thing": torch.zeros(9)}, path)
    check_model(model)
    (note,) = open_model(model).notes
    assert note.startswith(f"model: 1 unknown weights are left out, such as `{part}.")
    assert note.endswith("strange.thing`")
    assert not any("strange" in name for name in open_model(model).tensors(part))


LDM_YAML = 'model:\n  target: ldm.models.diffusion.ddpm.LatentDiffusion\n  params:\n    parameterization: "v"\n'


@pytest.mark.parametrize("form", ["yaml", "keys", "folder"])
def test_the_prediction_type_of_a_model_is_read(toy_model, toy_checkpoint, tmp_path, form):
    if form == "folder":
        model = shutil.copytree(toy_model, tmp_path / "model")
        path = model / "scheduler" / "scheduler_config.json"
        config = json.loads(path.read_text()) | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
        path.write_text(json.dumps(config))
    else:
        model, weights = tmp_path / "model.safetensors", load_file(toy_checkpoint)
        inert = {key: torch.tensor([]) for key in ("v_pred", "ztsnr")} if form == "keys" else {}
        with safe_open(toy_checkpoint, "pt") as file:
            save_file(weights | inert, model, file.metadata())
        if form == "yaml":
            model.with_suffix(".yaml").write_text(LDM_YAML)
    config = open_model(model).scheduler()
    assert config["prediction_type"] == "v_prediction"
    assert config.get("rescale_betas_zero_snr", False) == (form != "yaml")


@pytest.mark.parametrize("text", ["[", "a: !!int x", b"\xff".decode("latin-1"), "- " * 500])
def test_a_broken_yaml_beside_a_single_file_is_a_note(toy_checkpoint, tmp_path, text):
    model = tmp_path / "model.safetensors"
    shutil.copyfile(toy_checkpoint, model)
    model.with_suffix(".yaml").write_text(text, encoding="latin-1")
    opened = open_model(model)
    assert opened.scheduler()["prediction_type"] == "epsilon"
    (note,) = opened.notes
    assert note.startswith(f"the file beside model.safetensors is not used: {model.with_suffix('.yaml')}")


def test_a_config_that_is_not_text_is_refused(toy_model, tmp_path):
    model = shutil.copytree(toy_model, tmp_path / "model")
    config = model / "vae" / "config.json"
    config.write_bytes(b"\xff{}")
    with pytest.raises(IntegrityError, match=r"vae/config.json cannot be read"):
        open_model(model)
    config.unlink()
    os.mkfifo(config)
    with pytest.raises(IntegrityError, match=r"vae/config.json cannot be read: not a regular file"):
        open_model(model)


def test_a_recorded_scheduler_that_is_not_json_is_refused(toy_checkpoint, tmp_path):
    with safe_open(toy_checkpoint, "pt") as file:
        configs = json.loads(file.metadata()[CONFIGS_KEY]) | {"scheduler/scheduler_config.json": "["}
        save_file(load_file(toy_checkpoint), tmp_path / "m.safetensors", {CONFIGS_KEY: json.dumps(configs)})
    with pytest.raises(IntegrityError, match=r"`scheduler/scheduler_config.json` is not JSON"):
        open_model(tmp_path / "m.safetensors").scheduler()


def test_the_prediction_type_is_a_setting_that_recipes_of_usual_models_leave_out(toy_model):
    small = {
        "model": toy_model,
        "motion_module": None,
        "steps": 2,
        "num_frames": 1,
        "width": 64,
        "height": 64,
        "seed": 1,
    }
    usual = generate("a fox", **small)
    assert not {"prediction_type", "rescale_betas_zero_snr"} & usual.recipe["config"].keys()
    other = generate("a fox", **small, prediction_type="v_prediction", rescale_betas_zero_snr=True)
    assert other.recipe["config"]["prediction_type"] == "v_prediction"
    assert other.recipe["config"]["rescale_betas_zero_snr"] is True
    assert not np.array_equal(usual.frames, other.frames)


@pytest.mark.parametrize("name", get_args(Scheduler))
def test_every_scheduler_takes_or_refuses_a_prediction_type(name):
    for kind in ("epsilon", "v_prediction", "sample"):
        for rescale in (False, True):
            try:
                scheduler = make_scheduler(name, prediction_type=kind, rescale_betas_zero_snr=rescale)
            except UsageError:
                continue
            scheduler.set_timesteps(2)
            noise, first = torch.ones(1, 4, 2, 2), scheduler.timesteps[0]
            stepped = scheduler.step(noise, first, scheduler.scale_model_input(noise, first), return_dict=False)[0]
            assert stepped.isfinite().all()
            assert scheduler.config.get("rescale_betas_zero_snr", False) == rescale
