"""Sites on the loopback interface, and a machine with an empty models folder."""

import random

import pytest

from animdiff_cli.fetch.auth import Network
from animdiff_cli.fetch.retry import RetryPolicy
from tests.fetch.server import Site

IMPATIENT = RetryPolicy(
    connect_s=2, stall_s=0.4, tries=3, first_wait_s=0.01, longest_wait_s=0.05, longest_asked_wait_s=2
)


@pytest.fixture
def make_bytes():
    """Random bytes, the same for the same seed: no two places of a file look alike."""
    return lambda size, seed=0: random.Random(seed).randbytes(size)


@pytest.fixture
def site():
    """A site: the Hub, Civitai or any other."""
    with Site() as site:
        yield site
        site.shutdown()


@pytest.fixture
def storage():
    """Another host, where sites send those who want large files."""
    with Site() as site:
        yield site
        site.shutdown()


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """An empty models folder, and none of the settings and tokens of whoever runs the tests."""
    for name in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "CIVITAI_TOKEN", "CIVITAI_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("ANIMDIFF_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("ANIMDIFF_CONFIG", str(tmp_path / "config"))
    return tmp_path / "models"


@pytest.fixture
def network(site, tmp_path):
    """The site stands for all sites, and nobody waits long."""
    return Network(
        hub=site.url,
        civitai=site.url,
        hub_token="hf_secret",
        hub_cache=tmp_path / "hf" / "hub",
        retry_policy=IMPATIENT,
    )


@pytest.fixture
def sd_files(make_bytes):
    """The files of a small diffusers folder, by name; weights are random bytes."""
    scaffold = {
        "model_index.json": b'{"_class_name": "StableDiffusionPipeline"}',
        "scheduler/scheduler_config.json": b"{}",
        "text_encoder/config.json": b"{}",
        "tokenizer/merges.txt": b"#version: 0.2",
        "tokenizer/vocab.json": b"{}",
        "unet/config.json": b"{}",
        "vae/config.json": b"{}",
    }
    weights = ("text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model")
    return scaffold | {f"{name}.safetensors": make_bytes(70_000, seed) for seed, name in enumerate(weights)}
