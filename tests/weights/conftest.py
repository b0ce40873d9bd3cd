"""Toy versions of published weight files: exact keys, reduced widths, random values."""

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out")


@pytest.fixture
def numbers():
    """Return a function that creates reproducible random tensors."""
    generator = torch.Generator().manual_seed(5)
    return lambda *shape: torch.randn(*shape, generator=generator)


@pytest.fixture
def motion_file(make_unet, make_motion, tmp_path):
    """Write a motion module of a version in the official layout; returns its path."""

    def write(version="v3", name=None):
        unet = make_unet("sdxl" if version == "sdxl" else "sd15", dtype=torch.float32)
        path = tmp_path / (name or f"{version}.safetensors")
        weights = {key: value.contiguous() for key, value in make_motion(unet, version).state_dict().items()}
        save_file(weights, path) if path.suffix == ".safetensors" else torch.save(weights, path)
        return path

    return write


@pytest.fixture
def motion_lora(make_unet, make_motion, numbers, tmp_path):
    """Write a MotionLoRA in the official layout, rank 4; returns its path."""

    def write(version="v2", name="pan.ckpt"):
        weights = {}
        unet = make_unet("sdxl" if version == "sdxl" else "sd15", dtype=torch.float32)
        for key, tensor in make_motion(unet, version).state_dict().items():
            stem, _, projection = key.rpartition(".attention_blocks.")
            if not stem or not projection.endswith("weight"):
                continue
            block, _, which = projection.partition(".")
            which = which.removesuffix(".weight").removesuffix(".0")
            width = tensor.shape[0]
            prefix = f"{stem}.attention_blocks.{block}.processor.{which}_lora"
            weights[f"{prefix}.down.weight"], weights[f"{prefix}.up.weight"] = numbers(4, width), numbers(width, 4)
        torch.save(weights, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def spatial_lora(make_unet, numbers):
    """Make LoRA tensors for every spatial attention of a toy UNet, named by a function of module and role."""

    def make(rank, name_key, alpha=None):
        weights = {}
        for key, tensor in make_unet(dtype=torch.float32).state_dict().items():
            module = key.removesuffix(".weight")
            if ".attn" not in key or module == key:
                continue
            weights[name_key(module, "down")] = 0.1 * numbers(rank, tensor.shape[1])
            weights[name_key(module, "up")] = 0.1 * numbers(tensor.shape[0], rank)
            if alpha is not None:
                weights[name_key(module, "alpha")] = torch.tensor(alpha)
        return weights

    return make


def kohya(module, role):
    suffix = {"down": ".lora_down.weight", "up": ".lora_up.weight", "alpha": ".alpha"}[role]
    return f"lora_unet_{module.replace('.', '_')}{suffix}"


def processor(module, role):
    stem, _, projection = module.removesuffix(".0").rpartition(".")
    return f"{stem}.processor.{projection}_lora.{role}.weight"


@pytest.fixture
def kohya_lora(spatial_lora, tmp_path):
    """Write a LoRA as kohya's trainer does, rank 8, alpha 3; returns its path."""
    path = tmp_path / "kohya.safetensors"
    save_file(spatial_lora(8, kohya, alpha=3.0), path, {"ss_network_dim": "8"})
    return path


@pytest.fixture
def adapter_file(spatial_lora, tmp_path):
    """Write a domain adapter in the official layout, rank 128 as the published one; returns its path."""
    torch.save(spatial_lora(128, processor), tmp_path / "adapter.ckpt")
    return tmp_path / "adapter.ckpt"


@pytest.fixture(scope="session")
def make_model(tmp_path_factory):
    """Write a diffusers folder of random weights with CLIP's full vocabulary, sd15 or sdxl; returns its path."""

    def text(projected, width):
        config = CLIPTextConfig(
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=1,
            projection_dim=32,
        )
        return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)

    def write(base="sd15"):
        folder = tmp_path_factory.mktemp("wild") / base
        torch.manual_seed(3)
        cross_down, cross_up = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
        shape = {
            "sd15": {
                "down_block_types": (cross_down,) * 3 + ("DownBlock2D",),
                "up_block_types": ("UpBlock2D",) + (cross_up,) * 3,
                "block_out_channels": (32, 32, 64, 64),
                "cross_attention_dim": 16,
            },
            "sdxl": {
                "down_block_types": ("DownBlock2D", cross_down, cross_down),
                "up_block_types": (cross_up, cross_up, "UpBlock2D"),
                "block_out_channels": (32, 64, 64),
                "cross_attention_dim": 2048,
                "transformer_layers_per_block": (1, 1, 2),
                "use_linear_projection": True,
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 8,
                "projection_class_embeddings_input_dim": 80,
            },
        }[base]
        UNet2DConditionModel(sample_size=8, layers_per_block=2, attention_head_dim=8, **shape).save_pretrained(
            folder / "unet"
        )
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(32, 32, 32, 64),
            layers_per_block=2,
            latent_channels=4,
        ).save_pretrained(folder / "vae")
        text(projected=False, width=16).save_pretrained(folder / "text_encoder")
        if base == "sdxl":
            text(projected=True, width=24).save_pretrained(folder / "text_encoder_2")
        return folder

    return write


@pytest.fixture(scope="session")
def sd15_folder(make_model):
    return make_model("sd15")


@pytest.fixture(scope="session")
def sdxl_folder(make_model):
    return make_model("sdxl")
