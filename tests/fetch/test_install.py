"""Installed items are verified, recorded in a download record, downloaded once and always complete."""

import json

import pytest
from huggingface_hub import hf_hub_download

from animdiff_cli.core.events import Note, ignore
from animdiff_cli.core.refs import ModelRef, parse_ref
from animdiff_cli.errors import IntegrityError, NetworkError, NotFound, UsageError
from animdiff_cli.fetch.install import install_item
from animdiff_cli.fetch.items import FetchItem, item_of
from animdiff_cli.fetch.plan import make_plan
from animdiff_cli.registry.catalog import CatalogEntry
from tests.fetch.server import Fault, sha256


@pytest.fixture
def data(make_bytes):
    return make_bytes(100_000)


@pytest.fixture
def entry(data):
    """A catalog entry with a hash and two sources."""
    return CatalogEntry(
        alias="toy",
        kind="motion-module",
        base="sd15",
        description="A toy",
        sources=("hf:org/repo/toy.ckpt", "civitai:1@2"),
        sha256=sha256(data),
        bytes=len(data),
    )


@pytest.fixture
def install(network):
    """Plan and install one item; returns the result and all notes."""

    def run(item, network=network):
        notes = []
        plan = make_plan([item], network)
        (planned,) = plan.items
        if planned.present:
            return planned.present, notes
        emit = lambda event: notes.append(event.message) if isinstance(event, Note) else None  # noqa: E731
        return install_item(item, planned.resolved, network, emit), notes

    return run


@pytest.fixture
def web_item(site, models):
    """An item for a plain URL, without a known hash."""

    def make(data, path="/w.ckpt", **options):
        url = site.put(path, data, **options)
        return FetchItem(url, None, (ModelRef("url", url),), models / "other" / "web", in_folder=True)

    return make


def test_installs_an_alias_with_a_download_record(site, storage, install, entry, data, models):
    commit = site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    fetched, notes = install(item_of(entry))
    assert fetched.path == models / "motion-module" / "toy.ckpt"
    assert (fetched.path.read_bytes(), fetched.sha256, fetched.bytes) == (data, sha256(data), len(data))
    assert not fetched.cached
    assert not notes
    download_record = json.loads((models / "motion-module" / "toy.ckpt.json").read_text())
    assert download_record.pop("date").endswith("+00:00")
    assert download_record.pop("etag")
    assert download_record == {
        "source": "hf:org/repo/toy.ckpt",
        "sha256": sha256(data),
        "bytes": len(data),
        "revision": commit,
    }


def test_does_not_download_a_present_file_again(site, storage, install, entry, data):
    site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    install(item_of(entry))
    request_count = len(site.requests) + len(storage.requests)
    fetched, _ = install(item_of(entry))
    assert fetched.cached
    assert len(site.requests) + len(storage.requests) == request_count


def test_tries_the_next_source_if_the_first_lacks_the_file(site, install, entry, data):
    site.put_version(2, "other-name.safetensors", data)
    fetched, _ = install(item_of(entry))
    assert fetched.path.name == "toy.ckpt"
    assert fetched.path.read_bytes() == data


def test_tries_the_next_source_if_the_first_fails_during_the_download(site, storage, install, entry, data):
    site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    storage.faults.extend([Fault(status=500)] * 9)
    site.put_version(2, "toy.ckpt", data)
    fetched, notes = install(item_of(entry))
    assert fetched.path.read_bytes() == data
    assert any("trying civitai:1@2" in note for note in notes)


def test_raises_the_failure_of_the_first_source_if_all_fail(install, entry):
    with pytest.raises(NotFound, match="`org/repo`"):
        install(item_of(entry))


def test_refuses_a_changed_hash_reported_by_the_source_before_downloading(site, storage, install, entry, data):
    site.put_repository("org/repo", {"toy.ckpt": data[::-1]}, storage)
    with pytest.raises(IntegrityError, match=r"toy\.ckpt has changed"):
        install(item_of(entry))
    assert storage.sent == 0


def test_refuses_a_superseded_upload(site, storage, install, entry, data):
    refused = entry.model_copy(update={"sha256": None, "bytes": None, "refused_sha256": (sha256(data)[:12],)})
    site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    with pytest.raises(IntegrityError, match="its author has replaced"):
        install(item_of(refused))
    assert storage.sent == 0


def test_refuses_a_superseded_upload_whose_hash_is_known_only_after_the_download(site, install, data, models):
    url = site.put("/toy.ckpt", data)
    entry = CatalogEntry(
        alias="toy",
        kind="lora",
        base="sd15",
        description="A toy",
        sources=("civitai:1@2",),
        refused_sha256=(sha256(data),),
    )
    item = FetchItem("toy", entry, (ModelRef("url", url),), models / "lora" / "toy.ckpt")
    with pytest.raises(IntegrityError, match="its author has replaced"):
        install(item)
    assert not item.target.exists()


def test_trusts_a_file_without_known_hash_on_first_use_and_reports_it_once(site, install, web_item, data):
    item = web_item(data)
    fetched, notes = install(item)
    assert [note for note in notes if "trusted on first use" in note and sha256(data) in note]
    fetched.path.unlink()
    again, notes = install(item)
    assert again.path.read_bytes() == data
    assert not notes


def test_refuses_a_trusted_file_that_has_changed(site, install, web_item, data):
    item = web_item(data)
    first, _ = install(item)
    first.path.unlink()
    web_item(data[::-1])
    with pytest.raises(IntegrityError, match="expected sha256"):
        install(item)
    assert not first.path.exists()


def test_accepts_a_manually_placed_file_with_the_right_hash(install, entry, data, models):
    target = models / "motion-module" / "toy.ckpt"
    target.parent.mkdir(parents=True)
    target.write_bytes(data)
    fetched, _ = install(item_of(entry))
    assert (fetched.cached, fetched.sha256) == (True, sha256(data))


def test_refuses_a_manually_placed_file_with_another_hash(install, entry, data, models):
    target = models / "motion-module" / "toy.ckpt"
    target.parent.mkdir(parents=True)
    target.write_bytes(data[::-1])
    with pytest.raises(IntegrityError, match="is not `toy`"):
        install(item_of(entry))


def test_detects_an_installed_file_that_was_truncated(site, install, web_item, data):
    item = web_item(data)
    fetched, _ = install(item)
    fetched.path.write_bytes(data[:-1])
    with pytest.raises(IntegrityError, match="size has changed") as refusal:
        install(item)
    assert str(fetched.path) in refusal.value.hint


def test_a_model_folder_appears_only_when_all_files_are_complete(site, storage, install, sd_files, models):
    site.put_repository("org/sd", sd_files, storage)
    target = models / "base" / "sd"
    item = FetchItem("sd", None, (parse_ref("hf:org/sd"),), target)
    storage.faults.extend([Fault(), Fault(), *[Fault(cut_after=0)] * 20])
    with pytest.raises(NetworkError):
        install(item)
    assert not target.exists()
    storage.faults.clear()
    before = storage.sent
    fetched, _ = install(item)
    assert {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*") if p.is_file()} == sd_files
    assert storage.sent - before == 70_000
    assert dict(fetched.files)["unet/config.json"] == sha256(b"{}")
    assert sorted(path.name for path in target.parent.iterdir() if not path.name.startswith(".")) == ["sd", "sd.json"]


def test_refuses_a_small_file_that_does_not_match_its_git_hash(site, storage, install, sd_files, models):
    commit = site.put_repository("org/sd", sd_files, storage)
    site.put(f"/org/sd/resolve/{commit}/unet/config.json", b"[]")
    with pytest.raises(IntegrityError, match="does not match the hash in its repository"):
        install(FetchItem("sd", None, (parse_ref("hf:org/sd"),), models / "base" / "sd"))


def test_detects_a_model_folder_that_lost_a_file(site, storage, install, sd_files, models):
    site.put_repository("org/sd", sd_files, storage)
    item = FetchItem("sd", None, (parse_ref("hf:org/sd"),), models / "base" / "sd")
    install(item)
    (item.target / "unet" / "config.json").unlink()
    with pytest.raises(IntegrityError, match="is damaged"):
        install(item)


def test_links_a_file_from_the_hub_cache_without_copying(site, storage, install, entry, data, network):
    site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    cached = hf_hub_download("org/repo", "toy.ckpt", cache_dir=network.hub_cache, endpoint=site.url)
    sent = storage.sent
    fetched, notes = install(item_of(entry))
    assert storage.sent == sent
    assert fetched.path.samefile(cached)
    assert any("Hub cache" in note for note in notes)


def test_ignores_a_damaged_file_in_the_hub_cache(site, storage, install, entry, data, network):
    site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    cached = hf_hub_download("org/repo", "toy.ckpt", cache_dir=network.hub_cache, endpoint=site.url)
    with open(cached, "r+b") as file:  # noqa: PTH123
        file.write(b"harm")
    assert install(item_of(entry))[0].path.read_bytes() == data


def test_installs_from_the_hub_cache_offline(site, storage, install, entry, data, network, sd_files, models):
    site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    site.put_repository("org/sd", sd_files, storage)
    for repo, name in [("org/repo", "toy.ckpt"), *(("org/sd", name) for name in sd_files)]:
        hf_hub_download(repo, name, cache_dir=network.hub_cache, endpoint=site.url)
    request_count = len(site.requests)
    offline = type(network)(hub=site.url, hub_cache=network.hub_cache, offline=True)
    assert install(item_of(entry), offline)[0].sha256 == sha256(data)
    folder, _ = install(FetchItem("sd", None, (parse_ref("hf:org/sd"),), models / "base" / "sd"), offline)
    assert (folder.path / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    assert len(site.requests) == request_count


def test_reports_a_models_folder_that_cannot_be_written(site, storage, install, entry, data, models):
    site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    models.parent.mkdir(exist_ok=True)
    models.write_text("a file where a folder should be")
    with pytest.raises(UsageError, match="part of the path is a file") as refusal:
        install(item_of(entry))
    assert "ANIMDIFF_MODELS" in refusal.value.hint


def test_a_file_name_with_path_traversal_stays_in_its_folder(site, network, models):
    site.put_version(9, "../../x", b"data")
    item = FetchItem("c", None, (parse_ref("civitai:1@9"),), models / "other" / "civitai-1-9", in_folder=True)
    (planned,) = make_plan([item], network).items
    assert install_item(item, planned.resolved, network, ignore).path == models / "other" / "civitai-1-9" / "x"
