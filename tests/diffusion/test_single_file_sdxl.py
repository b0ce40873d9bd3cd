"""SDXL as Civitai has it: one file, half precision, its first trainers' names, nothing beside it. No network."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from animdiff_cli.diffusion.build import check_model, load_components, part_config
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.errors import IntegrityError
from animdiff_cli.jobs.convert import convert_weights, plan_conversion
from animdiff_cli.jobs.generate import generate
from animdiff_cli.motion import MotionModule, save_motion_module
from animdiff_cli.weights.model_configs import tokenizer_files

PLAN = DevicePlan("cpu", 0, "fp32")
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write a diffusers folder whose every config follows from shapes, as those of the published models do."""
    path = tmp_path_factory.mktemp("xl") / "narrow-xl"
    torch.manual_seed(4)
    cross_down, cross_up = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
    unet = UNet2DConditionModel(
        sample_size=8,
        layers_per_block=2,
        down_block_types=("DownBlock2D", cross_down, cross_down),
        up_block_types=(cross_up, cross_up, "UpBlock2D"),
        block_out_channels=(32, 64, 128),
        cross_attention_dim=128,
        attention_head_dim=(1, 1, 2),
        transformer_layers_per_block=(1, 2, 3),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=6 * 256 + 48,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=2,
        scaling_factor=0.13025,
    )
    texts = {
        name: kind(
            CLIPTextConfig(
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=3,
                num_attention_heads=1,
                projection_dim=48 if name == "text_encoder_2" else 64,
                hidden_act=activation,
                eos_token_id=2,
            )
        )
        for name, kind, activation in (
            ("text_encoder", CLIPTextModel, "quick_gelu"),
            ("text_encoder_2", CLIPTextModelWithProjection, "gelu"),
        )
    }
    for name, part in {"unet": unet, "vae": vae, **texts}.items():
        part.half().save_pretrained(path / name)
    for part in ("tokenizer", "tokenizer_2"):
        (path / part).mkdir()
        for name, text in tokenizer_files("sdxl", part).items():
            (path / part / name).write_bytes(text)
    EulerDiscreteScheduler(beta_schedule="scaled_linear").save_pretrained(path / "scheduler")
    return path


@pytest.fixture(scope="module")
def tensors(folder, tmp_path_factory):
    """Return the weights under the names of a single file, without a word of metadata."""
    path = tmp_path_factory.mktemp("one") / "xl.safetensors"
    return load_file(convert_weights(plan_conversion(str(folder), to="original", output=path)).path)


@pytest.fixture(scope="module")
def checkpoint(tensors, tmp_path_factory):
    """Write them as published: half precision, `.safetensors`."""
    path = tmp_path_factory.mktemp("one") / "xl_v10.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture(params=["sdxl", pytest.param("hotshot", marks=pytest.mark.full)])
def motion_file(request, folder, tmp_path):
    torch.manual_seed(5)
    motion = MotionModule.from_unet(UNet2DConditionModel.from_pretrained(folder / "unet"), request.param)
    for parameter in motion.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    save_motion_module(motion.half(), tmp_path / "mm.safetensors")
    return tmp_path / "mm.safetensors"


def same_weights(one, other):
    for part in PARTS:
        ours, theirs = getattr(one, part).state_dict(), getattr(other, part).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_one_file_is_the_folder_it_came_from(folder, checkpoint):
    one, whole = load_components(checkpoint, PLAN), load_components(folder, PLAN)
    same_weights(one, whole)
    for part in PARTS:
        said = part_config(folder, part)
        read = part_config(checkpoint, part)
        for key in ("attention_head_dim", "transformer_layers_per_block", "num_attention_heads", "scaling_factor"):
            assert read.get(key) == said.get(key), (part, key)
    assert [len(t) for t in (one.tokenizer, one.tokenizer_2)] == [49408, 49408]
    assert (one.tokenizer.pad_token, one.tokenizer_2.pad_token) == ("<|endoftext|>", "!")
    assert (one.beta_schedule, one.prediction_type, one.zeros_for_empty) == ("scaled_linear", "epsilon", True)


def test_it_renders_the_frames_of_the_folder_to_the_bit(folder, checkpoint, motion_file):
    settings = {
        "motion_module": motion_file,
        "seed": 1,
        "steps": 2,
        "num_frames": 2,
        "width": 64,
        "height": 64,
        "scheduler": "euler",
        "dtype": "fp32",
    }
    clips = [generate("a fox", model=model, **settings) for model in (folder, checkpoint)]
    assert clips[0].frames.std() > 1
    assert np.array_equal(clips[0].frames, clips[1].frames)


def test_an_old_pickle_with_all_that_trainers_leave_in_it_loads(tensors, folder, tmp_path):
    name = "model.diffusion_model.input_blocks.0.0.weight"
    rubbish = {
        "model_ema.diffusion_modelinput_blocks00weight": tensors[name] * 0,
        "model_ema.decay": torch.tensor(0.999),
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "conditioner.embedders.1.model.logit_scale": torch.tensor(4.6),
        "denoiser.sigmas": torch.ones(1000),
        "alphas_cumprod": torch.ones(1000),
    }
    full = {key: tensor.float() for key, tensor in tensors.items()}
    torch.save({"state_dict": full | rubbish, "global_step": 3, "epoch": 1}, tmp_path / "xl.ckpt")
    same_weights(load_components(tmp_path / "xl.ckpt", PLAN), load_components(folder, PLAN))


def test_without_its_vae_it_says_so_before_loading_and_loads_where_another_is_given(tensors, tmp_path):
    save_file(
        {k: v for k, v in tensors.items() if not k.startswith("first_stage_model.")}, tmp_path / "novae.safetensors"
    )
    with pytest.raises(IntegrityError, match="has no vae") as refusal:
        check_model(tmp_path / "novae.safetensors")
    assert "VAE" in refusal.value.hint
    check_model(tmp_path / "novae.safetensors", needs_vae=False)
    parts = load_components(tmp_path / "novae.safetensors", PLAN, needs_vae=False)
    assert parts.vae is None
    assert parts.is_sdxl


@pytest.mark.parametrize("part", ["conditioner.embedders.1.", "conditioner.embedders.0."])
def test_without_one_of_its_text_encoders_it_is_refused(tensors, tmp_path, part):
    save_file({k: v for k, v in tensors.items() if not k.startswith(part)}, tmp_path / "half.safetensors")
    with pytest.raises(IntegrityError, match="has no text_encoder"):
        check_model(tmp_path / "half.safetensors")
