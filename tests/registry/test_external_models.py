"""Models of the catalog in folders of other programs count as here, if they are what they should be."""

import hashlib
import json

import pytest

from animdiff_cli.config.layers import Layer, resolve
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.registry.catalog import CatalogEntry
from animdiff_cli.registry.file_facts_cache import remember, remembered_sha256
from animdiff_cli.registry.recommend import with_recommended
from animdiff_cli.registry.sidecar import read_sidecar
from animdiff_cli.registry.store import find, locate

DATA = b"the weights of toy"
SHA256 = hashlib.sha256(DATA).hexdigest()


def toy(**facts):
    told = {"alias": "toy", "kind": "lora", "base": "sd15", "description": "x", "sources": ("hf:org/repo/Toy.ckpt",)}
    return CatalogEntry(**told, **facts)


def test_a_file_of_the_right_name_and_size_is_it_wherever_it_lies(put, use):
    use("ComfyUI")
    path = put("ComfyUI/models/loras/sub/toy.ckpt", DATA)
    assert find(toy(sha256=SHA256, bytes=len(DATA))) == path
    assert find(toy(bytes=len(DATA))) == path
    assert find(toy()) == path


def test_a_file_of_the_right_name_and_another_content_is_not_it(put, use):
    use("ComfyUI")
    put("ComfyUI/models/loras/toy.ckpt", b"something else")
    assert find(toy(bytes=len(DATA))) is None
    assert find(toy(sha256=SHA256)) is None
    assert find(toy(refused_sha256=(hashlib.sha256(b"something else").hexdigest()[:8],))) is None


def test_a_renamed_file_is_known_by_its_bytes_alone(put, use):
    use("ComfyUI")
    path = put("ComfyUI/models/loras/renamed.safetensors", DATA)
    put("ComfyUI/models/loras/decoy.safetensors", DATA[::-1])
    assert find(toy(sha256=SHA256, bytes=len(DATA))) == path
    assert find(toy(bytes=len(DATA))) is None


def test_a_file_among_another_kind_is_not_it(put, use):
    use("ComfyUI")
    put("ComfyUI/models/vae/toy.ckpt", DATA)
    assert find(toy()) is None


def test_what_is_found_out_about_a_file_is_remembered_until_it_changes(put):
    path = put("x.ckpt", DATA)
    calls = []
    look = lambda: calls.append(1) or len(calls)  # noqa: E731
    assert [remember(path, "n", look), remember(path, "n", look)] == [1, 1]
    path.write_bytes(DATA + b"!")
    assert remember(path, "n", look) == 2
    assert remembered_sha256(path) == hashlib.sha256(DATA + b"!").hexdigest()


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(put, person, monkeypatch):
    monkeypatch.setenv("ANIMDIFF_CACHE", str(put("a-file")))
    assert remembered_sha256(put("x.ckpt", DATA)) == SHA256


def test_a_spoilt_record_of_the_cache_is_made_again(put, person):
    path = put("x.ckpt", DATA)
    remembered_sha256(path)
    (kept,) = (person / "cache" / "weights").iterdir()
    kept.write_text("[")
    assert remembered_sha256(path) == SHA256


def hub_file(put, name, data, *, repo="org--repo", commit="c0ffee", ref="main"):
    """Put a file into the Hub cache as its client does."""
    blob = put(f"hf/hub/models--{repo}/blobs/{hashlib.sha256(data).hexdigest()}", data)
    link = blob.parents[1] / "snapshots" / commit / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(blob)
    put(f"hf/hub/models--{repo}/refs/{ref}", commit.encode())
    return link


def test_a_file_in_the_hub_cache_is_used_from_there(put):
    link = hub_file(put, "Toy.ckpt", DATA)
    assert find(toy()) == link
    assert locate(parse_ref("hf:org/repo/Toy.ckpt"), "lora").path == link
    assert locate(parse_ref("hf:org/repo/Toy.ckpt@c0ffee"), "lora").path == link
    for other in ("hf:org/repo/Toy.ckpt@v2", "hf:org/repo/Other.ckpt", "hf:org/other/Toy.ckpt"):
        with pytest.raises(NotFound, match="is not on this machine"):
            locate(parse_ref(other), "lora")


def test_of_a_known_hash_any_revision_in_the_cache_will_do_and_no_other_file(put):
    hub_file(put, "Toy.ckpt", b"newer weights", commit="beef")
    link = hub_file(put, "Toy.ckpt", DATA, commit="c0ffee", ref="v1")
    assert find(toy(sha256=SHA256)) == link
    assert find(toy(sha256="0" * 64)) is None


PARTS = ("unet", "vae", "text_encoder")


def test_a_whole_model_in_the_hub_cache_is_used_from_there_and_a_part_of_one_is_not(put):
    index = hub_file(put, "model_index.json", json.dumps({part: ["diffusers", "x"] for part in PARTS}).encode())
    for part in PARTS:
        hub_file(put, f"{part}/config.json", b"{}")
    hub_file(put, "tokenizer/vocab.json", b"{}")
    hub_file(put, "scheduler/scheduler_config.json", b"{}")
    names = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
    for part, stem in names.items():
        with pytest.raises(NotFound):
            locate(parse_ref("hf:org/repo"), "base")
        hub_file(put, f"{part}/{stem}.safetensors", part.encode())
    assert locate(parse_ref("hf:org/repo"), "base").path == index.parent


def test_a_sidecar_recommends_settings_for_a_file_put_there_by_hand(put):
    put("models/base/look.safetensors")
    put("models/base/look.safetensors.json", b'{"recommended": {"steps": 6, "width": 256}, "trigger_words": ["zzz"]}')
    resolved = resolve(with_recommended([Layer("--model", {"model": "Look", "width": 64})]))
    assert (resolved.values["steps"], resolved.origins["steps"]) == (6, "recommended for `Look`")
    assert resolved.values["width"] == 64


def test_a_mistake_in_a_sidecar_is_not_passed_over(put):
    path = put("models/base/look.safetensors")
    put("models/base/look.safetensors.json", b'{"recommended": {"stepps": 6}}')
    with pytest.raises(UsageError, match=r"look\.safetensors\.json: recommended settings: unknown key `stepps`"):
        with_recommended([Layer("--model", {"model": "look"})])
    put("models/base/look.safetensors.json", b'{"base": "sd3"}')
    with pytest.raises(UsageError, match=r"look\.safetensors\.json: `base`"):
        read_sidecar(path)


@pytest.mark.parametrize("content", [b"[1]", b"no json", b"\xff"])
def test_what_is_no_sidecar_says_nothing(put, content):
    path = put("x.ckpt")
    put("x.ckpt.json", content)
    assert read_sidecar(path).recommended == {}
