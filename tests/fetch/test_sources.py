"""References are resolved at the Hub, Civitai and plain URLs, and tokens are sent to their own site only."""

import hashlib

import pytest
from huggingface_hub import hf_hub_download

from animdiff_cli.core.events import ignore
from animdiff_cli.core.refs import ModelRef, parse_ref
from animdiff_cli.core.site_urls import canonical_ref
from animdiff_cli.errors import IntegrityError, NetworkError, NotFound, UsageError
from animdiff_cli.fetch.install import install_item
from animdiff_cli.fetch.items import expand
from animdiff_cli.fetch.network import Network
from animdiff_cli.fetch.sources import resolve
from animdiff_cli.registry.store import locate_any
from tests.fetch.server import Fault

REPO = {"model.safetensors": b"w" * 5000, "README.md": b"# hello", "unet/config.json": b"{}"}


def test_resolves_a_hub_file_with_size_hash_and_commit(site, storage, network):
    commit = site.put_repository("org/repo", REPO, storage)
    resolved = resolve(parse_ref("hf:org/repo/model.safetensors"), network)
    (file,) = resolved.files
    assert (file.name, file.size) == ("model.safetensors", 5000)
    assert file.sha256 == hashlib.sha256(b"w" * 5000).hexdigest()
    assert (resolved.revision, file.url) == (commit, f"{site.url}/org/repo/resolve/{commit}/model.safetensors")


def test_hub_token_is_not_sent_to_the_storage_host(site, storage, network):
    site.put_repository("org/repo", REPO, storage)
    resolve(parse_ref("hf:org/repo/model.safetensors"), network)
    assert {request.authorization for request in site.requests} == {"Bearer hf_secret"}
    assert not storage.requests


def test_resolves_all_files_of_a_model_at_one_commit(site, storage, network, sd_files):
    commit = site.put_repository("org/sd", sd_files | {"README.md": b"", "v1-5.safetensors": b"x"}, storage)
    resolved = resolve(parse_ref("hf:org/sd"), network)
    assert {file.name for file in resolved.files} == set(sd_files)
    assert resolved.is_folder
    assert all(f"/resolve/{commit}/" in file.url for file in resolved.files)
    assert all(file.sha256 or file.git_sha1 for file in resolved.files)


@pytest.mark.parametrize("name", ["../../x.json", "unet/../../../x.json", "/etc/x.json"])
def test_refuses_a_repository_with_paths_that_point_outside(site, storage, network, sd_files, name):
    site.put_repository("org/evil", sd_files | {name: b"{}"}, storage)
    with pytest.raises(IntegrityError, match="refused"):
        resolve(parse_ref("hf:org/evil"), network)


def test_a_missing_hub_file_is_not_found(site, storage, network):
    site.put_repository("org/repo", REPO, storage)
    with pytest.raises(NotFound, match=r"`org/repo` has no file `other\.ckpt`"):
        resolve(parse_ref("hf:org/repo/other.ckpt"), network)


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("RepoNotFound", NotFound, "no repository"),
        ("GatedRepo", NetworkError, "rejected your token"),
        ("RevisionNotFound", NotFound, "no revision `v9`"),
    ],
)
def test_hub_errors_map_to_specific_errors(site, network, code, error, message):
    status = {"RepoNotFound": 401, "GatedRepo": 403, "RevisionNotFound": 404}[code]
    site.errors["/org/repo/resolve/v9/f.ckpt"] = (status, code)
    with pytest.raises(error, match=message) as refusal:
        resolve(parse_ref("hf:org/repo/f.ckpt@v9"), network)
    assert refusal.value.hint


def test_finds_files_in_the_hub_cache(site, storage, network):
    site.put_repository("org/repo", REPO, storage)
    cached = hf_hub_download("org/repo", "model.safetensors", cache_dir=network.hub_cache, endpoint=site.url)
    resolved = resolve(parse_ref("hf:org/repo/model.safetensors"), network)
    assert str(resolved.cached["model.safetensors"]) == cached


def test_resolves_a_civitai_version_with_name_and_hash(site, network, make_bytes):
    data = make_bytes(12_345)
    site.put_version(78775, "toonyou_beta3.safetensors", data)
    (file,) = resolve(parse_ref("civitai:30240@78775"), network).files
    assert (file.name, file.size, file.sha256) == (
        "toonyou_beta3.safetensors",
        12_345,
        hashlib.sha256(data).hexdigest(),
    )
    assert file.url == f"{site.url}/api/download/models/78775"


def test_a_civitai_file_name_with_path_traversal_is_made_safe(site, network):
    site.put_version(1, "../../x", b"data")
    assert resolve(parse_ref("civitai:1@1"), network).files[0].name == "x"


def test_a_civitai_download_url_on_another_host_is_ignored(site, storage, network):
    file = {"name": "a", "downloadUrl": f"{storage.url}/steal"}
    site.put_json("/api/v1/model-versions/7", {"files": [file]})
    assert resolve(parse_ref("civitai:1@7"), network).files[0].url == f"{site.url}/api/download/models/7"


@pytest.mark.parametrize("answer", [{"files": []}, {}, {"files": [{"size": 1}]}, [1, 2], "text"])
def test_a_civitai_response_without_a_file_is_an_error(site, network, answer):
    site.put_json("/api/v1/model-versions/7", answer)
    with pytest.raises((NetworkError, NotFound)):
        resolve(parse_ref("civitai:1@7"), network)


def test_a_missing_civitai_version_is_not_found(network):
    with pytest.raises(NotFound):
        resolve(parse_ref("civitai:1@404"), network)


@pytest.mark.parametrize(
    ("headers", "name"),
    [({}, "some file.ckpt"), ({"Content-Disposition": 'attachment; filename="../../x.ckpt"'}, "x.ckpt")],
)
def test_reads_size_and_name_from_a_plain_url(site, network, headers, name):
    url = site.put("/d/some%20file.ckpt", b"x" * 77, headers=headers)
    (file,) = resolve(ModelRef("url", url), network).files
    assert (file.name, file.size, file.sha256) == (name, 77, None)


@pytest.mark.parametrize(
    ("address", "reference"),
    [
        ("https://huggingface.co/org/repo/resolve/main/sub/f.ckpt", "hf:org/repo/sub/f.ckpt@main"),
        ("https://huggingface.co/org/repo/blob/abc/f%20g.ckpt?download=true", "hf:org/repo/f g.ckpt@abc"),
        ("https://civitai.com/models/30240?modelVersionId=78775", "civitai:30240@78775"),
        ("https://civitai.com/models/30240/toonyou?modelVersionId=78775", "civitai:30240@78775"),
        ("https://civitai.com/api/download/models/78775", "civitai:0@78775"),
        (
            "https://civitai.com/api/download/models/78775?type=VAE",
            "https://civitai.com/api/download/models/78775?type=VAE",
        ),
        ("https://huggingface.co/org/repo", "hf:org/repo"),
        ("https://huggingface.co/org/repo/tree/fp16", "hf:org/repo@fp16"),
        ("https://huggingface.co/datasets/org", "https://huggingface.co/datasets/org"),
        ("https://huggingface.co/org/repo/discussions/1", "https://huggingface.co/org/repo/discussions/1"),
        ("https://example.com/models/1", "https://example.com/models/1"),
    ],
)
def test_converts_pasted_urls_to_references(address, reference):
    assert str(canonical_ref(parse_ref(address))) == reference


@pytest.mark.parametrize("file", ["..%2f..%2fx", "a%0ab", "a@b", "a%1b[2J"])
def test_a_pasted_url_with_an_unsafe_file_name_is_refused(file):
    with pytest.raises(UsageError):
        canonical_ref(parse_ref(f"https://huggingface.co/org/repo/resolve/main/{file}"))


def test_a_file_fetched_by_its_url_is_found_by_its_url(site, storage, network, tmp_path):
    site.put_repository("org/repo", REPO, storage)
    url = "https://huggingface.co/org/repo/blob/main/model.safetensors"
    (item,) = expand([url], network)
    fetched = install_item(item, resolve(item.sources[0], network), network, ignore)
    assert locate_any(parse_ref(url)).path == fetched.path


def test_a_civitai_page_of_several_versions_is_refused():
    with pytest.raises(UsageError, match="several versions"):
        canonical_ref(parse_ref("https://civitai.com/models/30240"))


def test_tokens_are_sent_to_their_own_site_only():
    network = Network(hub_token="h", civitai_token="c")
    assert network.token_for("https://huggingface.co/a") == "h"
    assert network.token_for("https://civitai.com/a") == "c"
    for other in (
        "https://cdn.huggingface.co/a",
        "http://huggingface.co/a",
        "https://huggingface.co:8443/a",
        "https://huggingface.co.evil.org/a",
        "https://huggingface.co@evil.org/a",
        "https://example.com",
    ):
        assert network.token_for(other) is None


def test_repr_omits_tokens():
    assert "secret" not in repr(Network(hub_token="secret", civitai_token="secret"))


def test_retries_transient_errors(site, network):
    url = site.put("/f", b"x")
    site.faults.extend([Fault(status=503), Fault(status=429)])
    assert resolve(ModelRef("url", url), network).files[0].size == 1


def test_an_unreachable_hub_is_named(network):
    gone = Network(hub="http://127.0.0.1:9", retry_policy=network.retry_policy)
    with pytest.raises(NetworkError, match=r"no connection to 127\.0\.0\.1"):
        resolve(parse_ref("hf:org/repo/f.ckpt"), gone)


@pytest.mark.parametrize("ref", ["hf:org/repo/f.ckpt", "hf:org/repo", "civitai:1@2", "https://host/f"])
def test_offline_makes_no_request(site, network, ref):
    offline = Network(hub=site.url, civitai=site.url, hub_cache=network.hub_cache, offline=True)
    with pytest.raises(NetworkError, match="offline"):
        resolve(parse_ref(ref), offline)
    assert not site.requests
