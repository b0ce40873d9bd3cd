"""Shared fixtures: real classes at toy size."""

from animdiff_cli.files.threads import prepare_threads

prepare_threads(None)  # before torch is imported

import gc
import logging
import os

os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported: its kernels then run on the CPU

import uuid

import pytest
import requests
import torch
from diffusers import AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
from hypothesis import HealthCheck, settings
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from animdiff_cli.jobs import train_report
from animdiff_cli.motion import MotionModule, save_motion_module
from tests import toy_networks

torch.set_num_threads(1)

# a busy machine draws slowly, which says nothing about the code
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_collection_finish():
    """Leave everything imported out of later garbage collections, which take a tenth of the time of the tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def nobody(tmp_path_factory):
    """A person without models, settings or caches: what is on this machine decides no test."""
    home = tmp_path_factory.mktemp("nobody")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ANIMDIFF_EXTRA_MODELS", raising=False)
        patch.delenv("HF_HUB_CACHE", raising=False)
        for name in ("ANIMDIFF_CONFIG", "ANIMDIFF_MODELS", "ANIMDIFF_CACHE", "ANIMDIFF_STATE", "HF_HOME"):
            patch.setenv(name, str(home / name.lower()))
        patch.setenv("OMP_NUM_THREADS", "1")  # as `torch.set_num_threads` above, in the processes that tests start
        yield


@pytest.fixture
def make_unet():
    """Build a stock UNet of SD1.5 or SDXL layout at toy width."""
    return toy_networks.make_unet


@pytest.fixture
def make_motion():
    """Build a motion module of random weights for a UNet."""
    return toy_networks.make_motion


@pytest.fixture
def quick_samples(monkeypatch):
    """Render sample clips of trainings in 3 steps instead of 25."""
    settings = train_report.sample_settings
    monkeypatch.setattr(
        train_report, "sample_settings", lambda *given: settings(*given).model_copy(update={"steps": 3})
    )


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory):
    """Write a whole Stable Diffusion folder of random weights, real classes, 8-fold VAE; returns its path."""
    folder = tmp_path_factory.mktemp("models") / "toy"
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(32, 32, 64, 64),
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 16, 16, 16),
        norm_num_groups=8,
        latent_channels=4,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            vocab_size=514,
            bos_token_id=512,
            eos_token_id=513,
            pad_token_id=513,
        )
    )
    DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
    ).save_pretrained(folder / "scheduler")
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    text_encoder.save_pretrained(folder / "text_encoder")
    byte_tokenizer().save_pretrained(folder / "tokenizer")
    return folder


@pytest.fixture(scope="session")
def toy_motion_file(toy_model, tmp_path_factory):
    """Write a v3 motion module of random weights, proj_out included, that fits `toy_model`; returns its path."""
    torch.manual_seed(1)
    motion = MotionModule.from_unet(UNet2DConditionModel.from_pretrained(toy_model / "unet"))
    for parameter in motion.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    path = tmp_path_factory.mktemp("motion") / "toy_mm.safetensors"
    save_motion_module(motion, path)
    return path


@pytest.fixture(scope="session")
def toy_pia_file(toy_motion_file):
    """Write a PIA module of random weights that fits `toy_model`; returns its path."""
    generator = torch.Generator().manual_seed(4)
    weights = load_file(toy_motion_file) | {"conv_in.bias": torch.ones(32)}
    weights["conv_in.weight"] = torch.randn(32, 9, 3, 3, generator=generator) * 0.3
    path = toy_motion_file.parent / "toy_pia.safetensors"
    save_file(weights, path)
    return path


@pytest.fixture
def picture(tmp_path):
    """A picture of two colours; returns its path."""
    path = tmp_path / "picture.png"
    image = Image.new("RGB", (64, 64), (250, 20, 20))
    image.paste((20, 20, 250), (0, 0, 32, 64))
    image.save(path)
    return path


@pytest.fixture(scope="session")
def toy_clip(tmp_path_factory):
    """Write a CLIP encoder of random weights that reads 32-pixel images and any text; returns its path."""
    folder = tmp_path_factory.mktemp("clip") / "toy-clip"
    torch.manual_seed(2)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    tokens = {"vocab_size": 514, "bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    model = CLIPModel(
        CLIPConfig(
            text_config=size | tokens, vision_config=size | {"image_size": 32, "patch_size": 8}, projection_dim=16
        )
    )
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def toy_sdxl_model(tmp_path_factory):
    """Write a whole SDXL folder of random weights: two text encoders, pooled text and sizes; returns its path."""
    folder = tmp_path_factory.mktemp("models") / "toy-xl"
    torch.manual_seed(2)
    cross_down, cross_up = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
    UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        down_block_types=("DownBlock2D", cross_down, cross_down),
        up_block_types=(cross_up, cross_up, "UpBlock2D"),
        block_out_channels=(32, 64, 64),
        cross_attention_dim=72,
        attention_head_dim=(1, 2, 2),
        transformer_layers_per_block=(1, 1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 16, 16, 16),
        norm_num_groups=8,
        latent_channels=4,
        scaling_factor=0.13025,
        force_upcast=True,
    ).save_pretrained(folder / "vae")
    for part, kind, width in (
        ("text_encoder", CLIPTextModel, 32),
        ("text_encoder_2", CLIPTextModelWithProjection, 40),
    ):
        config = CLIPTextConfig(
            hidden_size=width,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            projection_dim=16,
            vocab_size=514,
            bos_token_id=512,
            eos_token_id=513,
            pad_token_id=513,
        )
        kind(config).save_pretrained(folder / part)
    byte_tokenizer().save_pretrained(folder / "tokenizer")
    second = byte_tokenizer()
    second.pad_token = "!"
    second.save_pretrained(folder / "tokenizer_2")
    EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"
    ).save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture(scope="session")
def toy_sdxl_motion_file(toy_sdxl_model, tmp_path_factory):
    """Write the SDXL beta module of random weights that fits `toy_sdxl_model`; returns its path."""
    torch.manual_seed(3)
    motion = MotionModule.from_unet(UNet2DConditionModel.from_pretrained(toy_sdxl_model / "unet"), "sdxl")
    for parameter in motion.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    path = tmp_path_factory.mktemp("motion") / "toy_mm_sdxl.safetensors"
    save_motion_module(motion, path)
    return path


@pytest.fixture(scope="session")
def s3_server():
    """An S3 server on the loopback interface, one for all tests of a process. Returns its URL."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """A new bucket, and the environment that finds its server. Returns its URL."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"clips-{uuid.uuid4().hex[:8]}"
    requests.put(f"{s3_server}/{name}", timeout=10).raise_for_status()
    return f"s3://{name}"


def byte_tokenizer():
    """Build a CLIP tokenizer of 256 bytes, each inside and at the end of a word: any text tokenises."""
    characters = list(bytes_to_unicode().values())
    words = [*characters, *(c + "</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77)
