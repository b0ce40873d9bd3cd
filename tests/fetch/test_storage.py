"""Weights on a storage system: fetched into the models folder like any other, and found there."""

import hashlib
import json

import pytest
import torch
import yaml
from safetensors.torch import save_file
from typer.testing import CliRunner

from animdiff_cli.cli import app
from animdiff_cli.core.events import BytesReceived, ignore
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import IntegrityError, NetworkError, NotFound, UsageError
from animdiff_cli.fetch import storage
from animdiff_cli.fetch.part import PartialFile
from animdiff_cli.fetch.remote import RemoteFile
from animdiff_cli.fetch.transfer import download_file
from animdiff_cli.jobs.fetch import fetch_weights, plan_fetch
from animdiff_cli.registry.store import locate
from animdiff_cli.storage.location import location
from animdiff_cli.storage.objects import find, upload


@pytest.fixture
def put(bucket, tmp_path):
    """Upload bytes to a name in a bucket, and return its URL."""

    def write(name, content):
        (tmp_path / "put").write_bytes(content)
        upload(tmp_path / "put", location(f"{bucket}/{name}"), replace=True)
        return f"{bucket}/{name}"

    return write


@pytest.fixture
def lora(put, tmp_path):
    """A small LoRA file in a bucket. Returns its URL and its bytes."""
    path = tmp_path / "ink.safetensors"
    save_file({"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": torch.zeros(4, 8)}, path)
    return put("loras/ink.safetensors", path.read_bytes()), path.read_bytes()


def animdiff(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_fetched_file_is_hashed_recorded_listed_verified_and_removed(lora, bucket, models):
    url, content = lora
    shown = animdiff("fetch", url, "--dry-run", "--json")
    assert json.loads(shown.stdout)["bytes"] == len(content), shown.output
    (fetched,) = fetch_weights(url)
    assert fetched.path.read_bytes() == content and fetched.path.name == "ink.safetensors"
    assert (fetched.sha256, fetched.cached) == (hashlib.sha256(content).hexdigest(), False)
    assert fetch_weights(url)[0].cached and fetch_weights(url, offline=True)[0].cached
    assert locate(parse_ref(url), "lora").path == locate(parse_ref(f"{url}@0.5", scaled=True), "lora").path
    assert f"{url}" in animdiff("models", "list").stdout
    assert animdiff("models", "verify", url).stdout == f"{url}  ok\n"
    fetched.path.write_bytes(content[:-1] + b"\1")
    assert animdiff("models", "verify", url).exit_code == 5
    assert animdiff("models", "rm", "--yes", url).exit_code == 0
    missing = animdiff("models", "path", url)
    assert missing.exit_code == 3 and f"animdiff fetch {url}" in missing.stderr


def test_a_known_hash_is_compared(lora, put, models, tmp_path):
    url, content = lora
    (tmp_path / "config").mkdir()
    entry = {"alias": "my-ink", "kind": "lora", "base": "sd15", "description": "Ink", "sources": [url]}
    for sha256 in ("0" * 64, hashlib.sha256(content).hexdigest()):
        (tmp_path / "config" / "catalog.yaml").write_text(yaml.safe_dump([entry | {"sha256": sha256}]))
        if sha256.startswith("000"):
            with pytest.raises(IntegrityError, match="expected sha256 000000000000"):
                fetch_weights("my-ink")
            assert not list(models.rglob("*.safetensors*"))
    assert fetch_weights("my-ink")[0].sha256 == sha256


def test_a_changed_file_is_refused_until_its_record_is_removed(lora, put):
    url, content = lora
    (fetched,) = fetch_weights(url)
    fetched.path.unlink()
    put("loras/ink.safetensors", content[:-1] + b"\1")
    with pytest.raises(IntegrityError, match="expected sha256"):
        fetch_weights(url)


def test_a_folder_is_a_diffusers_model(put, bucket):
    put("toy/model_index.json", b"{}")
    put("toy/unet/config.json", b'{"a": 1}')
    (fetched,) = fetch_weights(f"{bucket}/toy/")
    assert (fetched.path / "unet" / "config.json").read_bytes() == b'{"a": 1}'
    assert {name for name, _ in fetched.files} == {"model_index.json", "unet/config.json"}
    assert fetch_weights(f"{bucket}/toy/")[0].cached
    assert locate(parse_ref(f"{bucket}/toy/"), "base").path == fetched.path
    with pytest.raises(UsageError, match="is a folder") as refusal:
        fetch_weights(f"{bucket}/toy")
    assert f"`{bucket}/toy/`" in refusal.value.hint


def test_an_interrupted_download_resumes_with_what_is_missing(put, make_bytes, tmp_path, network, monkeypatch):
    content = make_bytes(100_000)
    url = put("big.ckpt", content)
    monkeypatch.setattr(storage, "CHUNK", 30_000)
    requested, real = [], storage.read_range

    def cut_at(stop):
        def read(path, start, end):
            requested.append(start)
            if start >= stop:
                raise NetworkError("connection lost")
            return real(path, start, end)

        return read

    remote, target = RemoteFile(url, "big.ckpt"), tmp_path / "big.ckpt"
    monkeypatch.setattr(storage, "read_range", cut_at(60_000))
    with pytest.raises(NetworkError):
        download_file(remote, target, network, ignore)
    assert not target.exists() and requested == [0, 30_000, 60_000]
    monkeypatch.setattr(storage, "read_range", cut_at(1 << 30))
    events = []
    assert download_file(remote, target, network, events.append).sha256 == hashlib.sha256(content).hexdigest()
    assert target.read_bytes() == content and requested[3:] == [60_000, 90_000]
    assert events[-1] == BytesReceived("big.ckpt", 100_000, 100_000)


def test_another_version_starts_again_and_a_change_meanwhile_is_refused(put, make_bytes, tmp_path, monkeypatch):
    url = put("big.ckpt", make_bytes(50_000))
    monkeypatch.setattr(storage, "CHUNK", 30_000)
    part = PartialFile(tmp_path / "big.ckpt.part")
    real = storage.read_range

    def replaced_meanwhile(path, start, stop):
        if start:
            put("big.ckpt", make_bytes(50_000, seed=1))
        return real(path, start, stop)

    monkeypatch.setattr(storage, "read_range", replaced_meanwhile)
    with pytest.raises(NetworkError, match="has changed during the download"):
        storage.download_stored(RemoteFile(url, "big.ckpt"), part, ignore)
    monkeypatch.setattr(storage, "read_range", real)
    digest = storage.download_stored(RemoteFile(url, "big.ckpt"), part, ignore)
    assert digest.sha256 == hashlib.sha256(make_bytes(50_000, seed=1)).hexdigest()
    part.close()


@pytest.mark.parametrize(("name", "error"), [("none.ckpt", NotFound), ("none/", NotFound)])
def test_a_missing_file_or_folder_is_not_found(bucket, name, error):
    with pytest.raises(error, match=f"{bucket}/none"):
        fetch_weights(f"{bucket}/{name}")


def test_a_plan_without_an_answer_is_a_note(bucket, monkeypatch):
    def no_answer(path):
        raise NetworkError("no connection")

    monkeypatch.setattr(storage, "find", no_answer)
    assert plan_fetch([f"{bucket}/x.ckpt"]).notes == ("no connection",)
    assert find(location(f"{bucket}/x.ckpt")) is None
