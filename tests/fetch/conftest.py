"""Fixtures: local HTTP servers and an empty models folder."""

import random

import pytest

from animdiff_cli.core.events import ignore
from animdiff_cli.fetch.network import Network, RetryPolicy
from animdiff_cli.fetch.remote import RemoteFile
from animdiff_cli.fetch.transfer import download_file
from tests.fetch.server import Site

SIZE = 300_000  # bytes of `data`
FAST_RETRIES = RetryPolicy(
    connect_timeout_s=2,
    read_timeout_s=0.4,
    max_attempts=3,
    initial_delay_s=0.01,
    max_delay_s=0.05,
    max_retry_after_s=2,
)


@pytest.fixture
def make_bytes():
    """Return a function that makes random bytes, reproducible by seed."""
    return lambda size, seed=0: random.Random(seed).randbytes(size)


@pytest.fixture
def site():
    """A server that acts as the Hub, Civitai or any other site."""
    with Site() as site:
        yield site
        site.shutdown()


@pytest.fixture
def storage():
    """A storage host that sites redirect downloads of large files to."""
    with Site() as site:
        yield site
        site.shutdown()


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """An empty models folder, without the settings and tokens of the user who runs the tests."""
    for name in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "CIVITAI_TOKEN", "CIVITAI_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("ANIMDIFF_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("ANIMDIFF_CONFIG", str(tmp_path / "config"))
    return tmp_path / "models"


@pytest.fixture
def network(site, tmp_path):
    """Network settings that use `site` for all sites, with short timeouts."""
    return Network(
        hub=site.url,
        civitai=site.url,
        hub_token="hf_secret",
        hub_cache=tmp_path / "hf" / "hub",
        retry_policy=FAST_RETRIES,
    )


@pytest.fixture
def sd_files(make_bytes):
    """The files of a small diffusers model by name, with random bytes as weights."""
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


@pytest.fixture
def data(make_bytes):
    """The bytes of a file of `SIZE` bytes."""
    return make_bytes(SIZE)


@pytest.fixture
def get(site, network, tmp_path):
    """Download a path of the site to `model.bin`. Keyword arguments are fields of `RemoteFile`."""

    def run(path="/f", emit=ignore, **metadata):
        remote = RemoteFile(site.url + path, "model.bin", **metadata)
        return download_file(remote, tmp_path / "model.bin", network, emit)

    return run
