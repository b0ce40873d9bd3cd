"""The Hub, asked through its own client, Civitai and other sites: what is there, and who must not be told what."""

import hashlib

import pytest
from huggingface_hub import hf_hub_download

from animdiff_cli.core.refs import ModelRef, parse_ref
from animdiff_cli.errors import IntegrityError, NetworkError, NotFound, UsageError
from animdiff_cli.fetch.auth import Network
from animdiff_cli.fetch.sources import find_offer, understand
from tests.fetch.server import Fault

REPO = {"model.safetensors": b"w" * 5000, "README.md": b"# hello", "unet/config.json": b"{}"}


def test_a_file_of_the_hub_is_offered_with_size_hash_and_commit(site, storage, network):
    commit = site.put_repository("org/repo", REPO, storage)
    offer = find_offer(parse_ref("hf:org/repo/model.safetensors"), network)
    (file,) = offer.files
    assert (file.name, file.size) == ("model.safetensors", 5000)
    assert file.sha256 == hashlib.sha256(b"w" * 5000).hexdigest()
    assert (offer.revision, file.url) == (commit, f"{site.url}/org/repo/resolve/{commit}/model.safetensors")


def test_the_hub_token_goes_to_the_hub_and_not_to_its_storage(site, storage, network):
    site.put_repository("org/repo", REPO, storage)
    find_offer(parse_ref("hf:org/repo/model.safetensors"), network)
    assert {seen.authorization for seen in site.seen} == {"Bearer hf_secret"}
    assert not storage.seen


def test_a_whole_model_is_offered_part_by_part_at_one_commit(site, storage, network, sd_files):
    commit = site.put_repository("org/sd", sd_files | {"README.md": b"", "v1-5.safetensors": b"x"}, storage)
    offer = find_offer(parse_ref("hf:org/sd"), network)
    assert {file.name for file in offer.files} == set(sd_files)
    assert offer.is_folder
    assert all(f"/resolve/{commit}/" in file.url for file in offer.files)
    assert all(file.sha256 or file.git_sha1 for file in offer.files)


@pytest.mark.parametrize("name", ["../../x.json", "unet/../../../x.json", "/etc/x.json"])
def test_a_repository_that_names_files_outside_itself_is_refused(site, storage, network, sd_files, name):
    site.put_repository("org/evil", sd_files | {name: b"{}"}, storage)
    with pytest.raises(IntegrityError, match="refused"):
        find_offer(parse_ref("hf:org/evil"), network)


def test_a_file_the_hub_does_not_have_is_not_found(site, storage, network):
    site.put_repository("org/repo", REPO, storage)
    with pytest.raises(NotFound, match=r"`org/repo` has no file `other\.ckpt`"):
        find_offer(parse_ref("hf:org/repo/other.ckpt"), network)


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        ("RepoNotFound", NotFound, "no repository"),
        ("GatedRepo", NetworkError, "does not accept your token"),
        ("RevisionNotFound", NotFound, "no revision `v9`"),
    ],
)
def test_the_hubs_refusals_are_told_apart(site, network, code, error, words):
    status = {"RepoNotFound": 401, "GatedRepo": 403, "RevisionNotFound": 404}[code]
    site.refusals["/org/repo/resolve/v9/f.ckpt"] = (status, code)
    with pytest.raises(error, match=words) as refusal:
        find_offer(parse_ref("hf:org/repo/f.ckpt@v9"), network)
    assert refusal.value.hint


def test_what_another_program_got_from_the_hub_is_offered_from_its_cache(site, storage, network):
    site.put_repository("org/repo", REPO, storage)
    cached = hf_hub_download("org/repo", "model.safetensors", cache_dir=network.hub_cache, endpoint=site.url)
    offer = find_offer(parse_ref("hf:org/repo/model.safetensors"), network)
    assert str(offer.cached["model.safetensors"]) == cached


def test_a_version_of_civitai_is_offered_with_its_name_and_hash(site, network, make_bytes):
    data = make_bytes(12_345)
    site.put_version(78775, "toonyou_beta3.safetensors", data)
    (file,) = find_offer(parse_ref("civitai:30240@78775"), network).files
    assert (file.name, file.size, file.sha256) == (
        "toonyou_beta3.safetensors",
        12_345,
        hashlib.sha256(data).hexdigest(),
    )
    assert file.url == f"{site.url}/api/download/models/78775"


def test_a_name_civitai_gives_stays_inside_the_folder(site, network):
    site.put_version(1, "../../x", b"data")
    assert find_offer(parse_ref("civitai:1@1"), network).files[0].name == "x"


def test_civitai_cannot_send_its_token_elsewhere(site, storage, network):
    file = {"name": "a", "downloadUrl": f"{storage.url}/steal"}
    site.put_json("/api/v1/model-versions/7", {"files": [file]})
    assert find_offer(parse_ref("civitai:1@7"), network).files[0].url == f"{site.url}/api/download/models/7"


@pytest.mark.parametrize("answer", [{"files": []}, {}, {"files": [{"size": 1}]}, [1, 2], "text"])
def test_an_answer_of_civitai_that_names_no_file_is_an_error(site, network, answer):
    site.put_json("/api/v1/model-versions/7", answer)
    with pytest.raises((NetworkError, NotFound)):
        find_offer(parse_ref("civitai:1@7"), network)


def test_a_version_civitai_does_not_have_is_not_found(network):
    with pytest.raises(NotFound):
        find_offer(parse_ref("civitai:1@404"), network)


@pytest.mark.parametrize(
    ("headers", "name"),
    [({}, "some file.ckpt"), ({"Content-Disposition": 'attachment; filename="../../x.ckpt"'}, "x.ckpt")],
)
def test_another_site_tells_size_and_name(site, network, headers, name):
    url = site.put("/d/some%20file.ckpt", b"x" * 77, headers=headers)
    (file,) = find_offer(ModelRef("url", url), network).files
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
        ("https://example.com/models/1", "https://example.com/models/1"),
    ],
)
def test_a_pasted_address_is_understood(address, reference):
    assert str(understand(parse_ref(address), Network())) == reference


def test_a_page_of_several_versions_asks_which():
    with pytest.raises(UsageError, match="several versions"):
        understand(parse_ref("https://civitai.com/models/30240"), Network())


def test_tokens_go_to_their_own_site_alone():
    network = Network(hub_token="h", civitai_token="c")
    assert network.token_for("https://huggingface.co/a") == "h"
    assert network.token_for("https://civitai.com/a") == "c"
    for stranger in (
        "https://cdn.huggingface.co/a",
        "http://huggingface.co/a",
        "https://huggingface.co:8443/a",
        "https://huggingface.co.evil.org/a",
        "https://huggingface.co@evil.org/a",
        "https://example.com",
    ):
        assert network.token_for(stranger) is None


def test_tokens_are_never_shown():
    assert "secret" not in repr(Network(hub_token="secret", civitai_token="secret"))


def test_a_passing_fault_of_a_site_is_asked_again(site, network):
    url = site.put("/f", b"x")
    site.faults.extend([Fault(status=503), Fault(status=429)])
    assert find_offer(ModelRef("url", url), network).files[0].size == 1


def test_a_hub_that_is_not_there_is_named(network):
    gone = Network(hub="http://127.0.0.1:9", retry_policy=network.retry_policy)
    with pytest.raises(NetworkError, match=r"no connection to 127\.0\.0\.1"):
        find_offer(parse_ref("hf:org/repo/f.ckpt"), gone)


@pytest.mark.parametrize("ref", ["hf:org/repo/f.ckpt", "hf:org/repo", "civitai:1@2", "https://host/f"])
def test_offline_nobody_is_asked(site, network, ref):
    offline = Network(hub=site.url, civitai=site.url, hub_cache=network.hub_cache, offline=True)
    with pytest.raises(NetworkError, match="offline"):
        find_offer(parse_ref(ref), offline)
    assert not site.seen
