"""Catalog models in folders of other programs are used in place if size or hash match."""

import hashlib
import json
import os

import pytest

from animdiff_cli.config.layers import Layer, resolve
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.registry.catalog import CatalogEntry
from animdiff_cli.registry.file_facts_cache import cached_fact, cached_sha256
from animdiff_cli.registry.metadata import read_metadata
from animdiff_cli.registry.recommend import with_recommended
from animdiff_cli.registry.store import local_path, locate

DATA = b"the weights of toy"
SHA256 = hashlib.sha256(DATA).hexdigest()


def toy(**facts):
    fields = {"alias": "toy", "kind": "lora", "base": "sd15", "description": "x", "sources": ("hf:org/repo/Toy.ckpt",)}
    return CatalogEntry(**fields, **facts)


def test_a_file_with_the_right_name_and_size_matches_in_any_subfolder(write_file, use_dirs):
    use_dirs("ComfyUI")
    path = write_file("ComfyUI/models/loras/sub/toy.ckpt", DATA)
    assert local_path(toy(sha256=SHA256, bytes=len(DATA))) == path
    assert local_path(toy(bytes=len(DATA))) == path
    assert local_path(toy()) == path


def test_a_file_with_the_right_name_and_other_content_does_not_match(write_file, use_dirs):
    use_dirs("ComfyUI")
    write_file("ComfyUI/models/loras/toy.ckpt", b"something else")
    assert local_path(toy(bytes=len(DATA))) is None
    assert local_path(toy(sha256=SHA256)) is None
    assert local_path(toy(refused_sha256=(hashlib.sha256(b"something else").hexdigest()[:8],))) is None


def test_a_renamed_file_matches_by_size_and_hash_only(write_file, use_dirs):
    use_dirs("ComfyUI")
    path = write_file("ComfyUI/models/loras/renamed.safetensors", DATA)
    write_file("ComfyUI/models/loras/decoy.safetensors", DATA[::-1])
    assert local_path(toy(sha256=SHA256, bytes=len(DATA))) == path
    assert local_path(toy(bytes=len(DATA))) is None


def test_a_file_in_the_folder_of_another_kind_does_not_match(write_file, use_dirs):
    use_dirs("ComfyUI")
    write_file("ComfyUI/models/vae/toy.ckpt", DATA)
    assert local_path(toy()) is None


def test_a_fact_is_cached_until_the_file_changes(write_file):
    path = write_file("x.ckpt", DATA)
    calls = []
    compute = lambda: calls.append(1) or len(calls)  # noqa: E731
    assert [cached_fact(path, "n", compute), cached_fact(path, "n", compute)] == [1, 1]
    path.write_bytes(DATA + b"!")
    assert cached_fact(path, "n", compute) == 2
    assert cached_sha256(path) == hashlib.sha256(DATA + b"!").hexdigest()


def replaced(path, data, how):
    """Change the content of a file but neither its size nor its date: by another file, or in place."""
    before = path.stat()
    target = path.with_suffix(".new") if how == "moved" else path
    target.write_bytes(data)
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    target.replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize("how", ["moved", "in place"])
def test_a_file_of_the_same_size_and_date_is_another_file(write_file, user_dir, how):
    path = write_file("x.ckpt", DATA)
    assert cached_sha256(path) == SHA256
    replaced(path, DATA[::-1], how)
    assert cached_sha256(path) == hashlib.sha256(DATA[::-1]).hexdigest()


def test_hashing_works_without_a_writable_cache(write_file, user_dir, monkeypatch):
    monkeypatch.setenv("ANIMDIFF_CACHE", str(write_file("a-file")))
    assert cached_sha256(write_file("x.ckpt", DATA)) == SHA256


def test_a_damaged_cache_entry_is_computed_again(write_file, user_dir):
    path = write_file("x.ckpt", DATA)
    cached_sha256(path)
    (cache_file,) = (user_dir / "cache" / "weights").iterdir()
    cache_file.write_text("[")
    assert cached_sha256(path) == SHA256


def hub_file(write_file, name, data, *, repo="org--repo", commit="c0ffee", ref="main"):
    """Add a file to the Hub cache in the layout of huggingface_hub."""
    blob = write_file(f"hf/hub/models--{repo}/blobs/{hashlib.sha256(data).hexdigest()}", data)
    link = blob.parents[1] / "snapshots" / commit / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(blob)
    write_file(f"hf/hub/models--{repo}/refs/{ref}", commit.encode())
    return link


def test_a_file_in_the_hub_cache_is_used_in_place(write_file):
    link = hub_file(write_file, "Toy.ckpt", DATA)
    assert local_path(toy()) == link
    assert locate(parse_ref("hf:org/repo/Toy.ckpt"), "lora").path == link
    assert locate(parse_ref("hf:org/repo/Toy.ckpt@c0ffee"), "lora").path == link
    for other in ("hf:org/repo/Toy.ckpt@v2", "hf:org/repo/Other.ckpt", "hf:org/other/Toy.ckpt"):
        with pytest.raises(NotFound, match="is not on this machine"):
            locate(parse_ref(other), "lora")


def test_a_known_hash_matches_any_cached_revision_and_no_other_file(write_file):
    hub_file(write_file, "Toy.ckpt", b"newer weights", commit="beef")
    link = hub_file(write_file, "Toy.ckpt", DATA, commit="c0ffee", ref="v1")
    assert local_path(toy(sha256=SHA256)) == link
    assert local_path(toy(sha256="0" * 64)) is None


@pytest.mark.parametrize("index", [b"7", b"[1]", b"null", b"[" * 100_000])
def test_a_damaged_model_in_the_hub_cache_is_not_used(write_file, index):
    hub_file(write_file, "model_index.json", index)
    with pytest.raises(NotFound):
        locate(parse_ref("hf:org/repo"), "base")


PARTS = ("unet", "vae", "text_encoder")


def test_a_complete_model_in_the_hub_cache_is_used_and_an_incomplete_one_is_not(write_file):
    index = hub_file(write_file, "model_index.json", json.dumps({part: ["diffusers", "x"] for part in PARTS}).encode())
    for part in PARTS:
        hub_file(write_file, f"{part}/config.json", b"{}")
    hub_file(write_file, "tokenizer/vocab.json", b"{}")
    hub_file(write_file, "scheduler/scheduler_config.json", b"{}")
    names = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
    for part, stem in names.items():
        with pytest.raises(NotFound):
            locate(parse_ref("hf:org/repo"), "base")
        hub_file(write_file, f"{part}/{stem}.safetensors", part.encode())
    assert locate(parse_ref("hf:org/repo"), "base").path == index.parent


def test_a_metadata_file_recommends_settings_for_a_copied_file(write_file):
    write_file("models/base/look.safetensors")
    write_file(
        "models/base/look.safetensors.json", b'{"recommended": {"steps": 6, "width": 256}, "trigger_words": ["zzz"]}'
    )
    resolved = resolve(GenerateConfig, with_recommended([Layer("--model", {"model": "Look", "width": 64})]))
    assert (resolved.values["steps"], resolved.origins["steps"]) == (6, "recommended for `Look`")
    assert resolved.values["width"] == 64


def test_an_invalid_metadata_file_is_refused(write_file):
    path = write_file("models/base/look.safetensors")
    write_file("models/base/look.safetensors.json", b'{"recommended": {"stepps": 6}}')
    with pytest.raises(UsageError, match=r"look\.safetensors\.json: recommended settings: unknown key `stepps`"):
        with_recommended([Layer("--model", {"model": "look"})])
    write_file("models/base/look.safetensors.json", b'{"base": "sd3"}')
    with pytest.raises(UsageError, match=r"look\.safetensors\.json: `base`"):
        read_metadata(path)


@pytest.mark.parametrize("content", [b"[1]", b"no json", b"\xff", b"7", b"[" * 100_000, b'{"a": ' * 50_000])
def test_a_file_that_is_not_metadata_is_ignored(write_file, content):
    path = write_file("x.ckpt")
    write_file("x.ckpt.json", content)
    assert read_metadata(path).recommended == {}
