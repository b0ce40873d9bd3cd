"""Bringing an item here: verified, recorded, once, and never half."""

import hashlib
import json

import pytest
from huggingface_hub import hf_hub_download

from animdiff_cli.core.events import Note, ignore
from animdiff_cli.core.refs import ModelRef, parse_ref
from animdiff_cli.errors import IntegrityError, NetworkError, NotFound, UsageError
from animdiff_cli.fetch.install import install_item
from animdiff_cli.fetch.items import Item, of_entry
from animdiff_cli.fetch.plan import make_plan
from animdiff_cli.registry.catalog import CatalogEntry
from tests.fetch.server import Fault


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def data(make_bytes):
    return make_bytes(100_000)


@pytest.fixture
def entry(data):
    """A catalog entry whose hash is known, with two sources."""
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
def bring(network):
    """Plan and deliver one item; returns what came and what was said."""

    def run(item, network=network):
        notes = []
        plan = make_plan([item], network)
        (planned,) = plan.items
        if planned.present:
            return planned.present, notes
        emit = lambda event: notes.append(event.message) if isinstance(event, Note) else None  # noqa: E731
        return install_item(item, planned.offer, network, emit), notes

    return run


@pytest.fixture
def web_item(site, models):
    """An item that is a file of some site, of which no hash is known."""

    def make(data, path="/w.ckpt", **habits):
        url = site.put(path, data, **habits)
        return Item(url, None, (ModelRef("url", url),), models / "other" / "web", in_folder=True)

    return make


def test_an_alias_arrives_where_it_belongs_with_a_receipt(site, storage, bring, entry, data, models):
    commit = site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    fetched, notes = bring(of_entry(entry))
    assert fetched.path == models / "motion-module" / "toy.ckpt"
    assert (fetched.path.read_bytes(), fetched.sha256, fetched.bytes) == (data, sha256(data), len(data))
    assert not fetched.cached
    assert not notes
    receipt = json.loads((models / "motion-module" / "toy.ckpt.json").read_text())
    assert receipt.pop("date").endswith("+00:00")
    assert receipt.pop("etag")
    assert receipt == {
        "source": "hf:org/repo/toy.ckpt",
        "sha256": sha256(data),
        "bytes": len(data),
        "revision": commit,
    }


def test_what_is_here_is_not_fetched_again(site, storage, bring, entry, data):
    site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    bring(of_entry(entry))
    asked = len(site.seen) + len(storage.seen)
    fetched, _ = bring(of_entry(entry))
    assert fetched.cached
    assert len(site.seen) + len(storage.seen) == asked


def test_the_next_source_is_tried_when_the_best_one_has_nothing(site, bring, entry, data):
    site.put_version(2, "other-name.safetensors", data)
    fetched, _ = bring(of_entry(entry))
    assert fetched.path.name == "toy.ckpt"
    assert fetched.path.read_bytes() == data


def test_the_next_source_is_tried_when_the_best_one_breaks_down(site, storage, bring, entry, data):
    site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    storage.faults.extend([Fault(status=500)] * 9)
    site.put_version(2, "toy.ckpt", data)
    fetched, notes = bring(of_entry(entry))
    assert fetched.path.read_bytes() == data
    assert any("trying civitai:1@2" in note for note in notes)


def test_the_failure_of_the_best_source_is_the_one_that_is_told(bring, entry):
    with pytest.raises(NotFound, match="`org/repo`"):
        bring(of_entry(entry))


def test_a_file_the_source_itself_calls_another_is_refused_before_it_is_fetched(site, storage, bring, entry, data):
    site.put_repository("org/repo", {"toy.ckpt": data[::-1]}, storage)
    with pytest.raises(IntegrityError, match=r"another toy\.ckpt"):
        bring(of_entry(entry))
    assert storage.sent == 0


def test_a_superseded_upload_is_refused(site, storage, bring, entry, data):
    refused = entry.model_copy(update={"sha256": None, "bytes": None, "refused_sha256": (sha256(data)[:12],)})
    site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    with pytest.raises(IntegrityError, match="its author has replaced"):
        bring(of_entry(refused))
    assert storage.sent == 0


def test_a_superseded_upload_of_unknown_hash_is_refused_once_it_is_known(site, bring, data, models):
    url = site.put("/toy.ckpt", data)
    entry = CatalogEntry(
        alias="toy",
        kind="lora",
        base="sd15",
        description="A toy",
        sources=("civitai:1@2",),
        refused_sha256=(sha256(data),),
    )
    item = Item("toy", entry, (ModelRef("url", url),), models / "lora" / "toy.ckpt")
    with pytest.raises(IntegrityError, match="its author has replaced"):
        bring(item)
    assert not item.target.exists()


def test_a_file_of_unknown_hash_is_trusted_once_and_that_is_said_once(site, bring, web_item, data):
    item = web_item(data)
    fetched, notes = bring(item)
    assert [note for note in notes if "trusted on first use" in note and sha256(data) in note]
    fetched.path.unlink()
    again, notes = bring(item)
    assert again.path.read_bytes() == data
    assert not notes


def test_a_file_trusted_once_cannot_become_another(site, bring, web_item, data):
    item = web_item(data)
    first, _ = bring(item)
    first.path.unlink()
    web_item(data[::-1])
    with pytest.raises(IntegrityError, match="expected sha256"):
        bring(item)
    assert not first.path.exists()


def test_a_file_put_there_by_hand_is_taken_if_it_is_the_right_one(bring, entry, data, models):
    target = models / "motion-module" / "toy.ckpt"
    target.parent.mkdir(parents=True)
    target.write_bytes(data)
    fetched, _ = bring(of_entry(entry))
    assert (fetched.cached, fetched.sha256) == (True, sha256(data))


def test_a_file_put_there_by_hand_that_is_another_is_named(bring, entry, data, models):
    target = models / "motion-module" / "toy.ckpt"
    target.parent.mkdir(parents=True)
    target.write_bytes(data[::-1])
    with pytest.raises(IntegrityError, match="is not `toy`"):
        bring(of_entry(entry))


def test_a_file_that_was_cut_short_since_is_noticed(site, bring, web_item, data):
    item = web_item(data)
    fetched, _ = bring(item)
    fetched.path.write_bytes(data[:-1])
    with pytest.raises(IntegrityError, match="size has changed") as refusal:
        bring(item)
    assert str(fetched.path) in refusal.value.hint


def test_a_whole_model_appears_when_its_last_file_is_there(site, storage, bring, sd_files, models):
    site.put_repository("org/sd", sd_files, storage)
    target = models / "base" / "sd"
    item = Item("sd", None, (parse_ref("hf:org/sd"),), target)
    storage.faults.extend([Fault(), Fault(), *[Fault(cut_after=0)] * 20])
    with pytest.raises(NetworkError):
        bring(item)
    assert not target.exists()
    storage.faults.clear()
    before = storage.sent
    fetched, _ = bring(item)
    assert {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*") if p.is_file()} == sd_files
    assert storage.sent - before == 70_000
    assert dict(fetched.files)["unet/config.json"] == sha256(b"{}")
    assert sorted(path.name for path in target.parent.iterdir() if not path.name.startswith(".")) == ["sd", "sd.json"]


def test_a_small_file_of_a_model_that_is_not_the_listed_one_is_refused(site, storage, bring, sd_files, models):
    commit = site.put_repository("org/sd", sd_files, storage)
    site.put(f"/org/sd/resolve/{commit}/unet/config.json", b"[]")
    with pytest.raises(IntegrityError, match="not the file that its repository lists"):
        bring(Item("sd", None, (parse_ref("hf:org/sd"),), models / "base" / "sd"))


def test_a_model_that_lost_a_file_is_named(site, storage, bring, sd_files, models):
    site.put_repository("org/sd", sd_files, storage)
    item = Item("sd", None, (parse_ref("hf:org/sd"),), models / "base" / "sd")
    bring(item)
    (item.target / "unet" / "config.json").unlink()
    with pytest.raises(IntegrityError, match="is damaged"):
        bring(item)


def test_a_file_of_the_hub_cache_is_used_and_not_copied(site, storage, bring, entry, data, network):
    site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    cached = hf_hub_download("org/repo", "toy.ckpt", cache_dir=network.hub_cache, endpoint=site.url)
    sent = storage.sent
    fetched, notes = bring(of_entry(entry))
    assert storage.sent == sent
    assert fetched.path.samefile(cached)
    assert any("Hub cache" in note for note in notes)


def test_a_damaged_file_of_the_hub_cache_is_not_used(site, storage, bring, entry, data, network):
    site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    cached = hf_hub_download("org/repo", "toy.ckpt", cache_dir=network.hub_cache, endpoint=site.url)
    with open(cached, "r+b") as file:  # noqa: PTH123
        file.write(b"harm")
    assert bring(of_entry(entry))[0].path.read_bytes() == data


def test_offline_the_hub_cache_is_enough(site, storage, bring, entry, data, network, sd_files, models):
    site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    site.put_repository("org/sd", sd_files, storage)
    for repo, name in [("org/repo", "toy.ckpt"), *(("org/sd", name) for name in sd_files)]:
        hf_hub_download(repo, name, cache_dir=network.hub_cache, endpoint=site.url)
    asked = len(site.seen)
    offline = type(network)(hub=site.url, hub_cache=network.hub_cache, offline=True)
    assert bring(of_entry(entry), offline)[0].sha256 == sha256(data)
    folder, _ = bring(Item("sd", None, (parse_ref("hf:org/sd"),), models / "base" / "sd"), offline)
    assert (folder.path / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    assert len(site.seen) == asked


def test_a_folder_that_cannot_be_written_is_named(site, storage, bring, entry, data, models):
    site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    models.parent.mkdir(exist_ok=True)
    models.write_text("a file where a folder should be")
    with pytest.raises(UsageError, match="part of that path is a file") as refusal:
        bring(of_entry(entry))
    assert "ANIMDIFF_MODELS" in refusal.value.hint


def test_a_file_named_to_lead_elsewhere_lands_in_its_own_folder(site, network, models):
    site.put_version(9, "../../x", b"data")
    item = Item("c", None, (parse_ref("civitai:1@9"),), models / "other" / "civitai-1-9", in_folder=True)
    (planned,) = make_plan([item], network).items
    assert install_item(item, planned.offer, network, ignore).path == models / "other" / "civitai-1-9" / "x"
