"""Fetching next to model folders of other programs, user-written metadata files and other processes."""

import hashlib
import json
import threading

import pytest
from filelock import FileLock

from animdiff_cli.core.events import Note, ignore
from animdiff_cli.errors import NotFound
from animdiff_cli.fetch.install import install_item
from animdiff_cli.fetch.items import item_of
from animdiff_cli.fetch.local import read_download_record
from animdiff_cli.fetch.plan import make_dry_plan, make_plan
from animdiff_cli.jobs.fetch import fetch
from animdiff_cli.jobs.models_remove import plan_removal, remove
from animdiff_cli.registry.catalog import CatalogEntry
from animdiff_cli.registry.user_catalog import add_entry


@pytest.fixture
def entry(make_bytes):
    """An entry of the user catalog for a file of the Hub."""
    data = make_bytes(50_000)
    entry = CatalogEntry(
        alias="own-toy", kind="lora", base="sd15", description="x", sources=("hf:org/repo/toy.ckpt",),
        sha256=hashlib.sha256(data).hexdigest(), bytes=len(data),
    )  # fmt: skip
    add_entry(entry)
    return entry


@pytest.fixture
def data(make_bytes):
    return make_bytes(50_000)


@pytest.fixture
def mirror(site, storage, data, monkeypatch):
    """The Hub with the file of the entry."""
    site.put_repository("org/repo", {"toy.ckpt": data}, storage)
    monkeypatch.setenv("HF_ENDPOINT", site.url)
    return site


def test_fetches_an_alias_of_the_user_catalog(mirror, entry, data, models):
    (fetched,) = fetch(["own-toy"])
    assert fetched.path == models / "lora" / "toy.ckpt"
    assert fetched.path.read_bytes() == data


def test_uses_a_file_in_the_folder_of_another_program_without_changing_it(mirror, entry, data, tmp_path, monkeypatch):
    folder = tmp_path / "ComfyUI" / "models" / "loras"
    folder.mkdir(parents=True)
    (folder / "renamed.ckpt").write_bytes(data)
    monkeypatch.setenv("ANIMDIFF_EXTRA_MODELS", str(tmp_path / "ComfyUI"))
    (fetched,) = fetch(["own-toy"])
    assert (fetched.path, fetched.cached, fetched.sha256) == (folder / "renamed.ckpt", True, entry.sha256)
    assert not mirror.requests
    assert [path.name for path in folder.iterdir()] == ["renamed.ckpt"]


def test_a_missing_local_file_cannot_be_fetched(network, tmp_path):
    lost = CatalogEntry(alias="lost", kind="lora", base="sd15", description="x", path=str(tmp_path / "lost.ckpt"))
    for plan in (make_plan, make_dry_plan):
        with pytest.raises(NotFound, match="`lost` was not found at"):
            plan([item_of(lost)], network)


def test_a_local_file_gets_no_download_record(network, tmp_path):
    path = tmp_path / "mine.ckpt"
    path.write_bytes(b"mine")
    mine = CatalogEntry(alias="mine", kind="lora", base="sd15", description="x", path=str(path))
    (planned,) = make_plan([item_of(mine)], network).items
    assert planned.present.path == path
    assert not path.with_name("mine.ckpt.json").exists()


@pytest.mark.parametrize(
    "record",
    [
        {"source": 1, "bytes": "x", "date": []},
        {"source": "s", "bytes": 1, "date": "d", "files": [1]},
        {"source": "s", "bytes": 1, "date": "d", "files": {"a": 1}},
        {"source": "s", "bytes": 1, "date": "d", "sha256": 5},
        {"source": "s", "bytes": -(10**400), "date": {}, "etag": [[]]},
    ],
)
def test_a_damaged_download_record_is_none(tmp_path, record):
    (tmp_path / "x.ckpt.json").write_text(json.dumps(record))
    assert read_download_record(tmp_path / "x.ckpt") is None


def test_credentials_in_an_older_download_record_are_not_shown(tmp_path):
    record = {"source": "https://me:pw@host/x.ckpt?token=SECRET&a=1", "bytes": 1, "date": "d"}
    (tmp_path / "x.ckpt.json").write_text(json.dumps(record))
    assert read_download_record(tmp_path / "x.ckpt").source == "https://…@host/x.ckpt?token=…&a=1"


def test_fetch_keeps_user_keys_of_the_metadata_file(mirror, entry, network, models):
    metadata = models / "lora" / "toy.ckpt.json"
    metadata.parent.mkdir(parents=True)
    metadata.write_text('{"trigger_words": ["zzz"], "sha256": "stale"}')
    (planned,) = make_plan([item_of(entry)], network).items
    install_item(planned.item, planned.resolved, network, ignore)
    content = json.loads(metadata.read_text())
    assert content["trigger_words"] == ["zzz"]
    assert (content["sha256"], content["source"]) == (entry.sha256, "hf:org/repo/toy.ckpt")


def test_remove_waits_for_the_lock_of_another_process(mirror, entry, models):
    list(fetch(["own-toy"]))
    (planned,) = plan_removal(["own-toy"])
    waiting = threading.Event()
    with FileLock(models / "lora" / ".toy.ckpt.lock"):
        emit = lambda event: waiting.set() if isinstance(event, Note) else None  # noqa: E731
        removing = threading.Thread(target=remove, args=(planned, emit))
        removing.start()
        assert waiting.wait(10)
        assert planned.paths[0].exists()
    removing.join(10)
    assert not [path for path in planned.paths if path.exists()]


def test_removes_a_file_by_the_reference_it_was_fetched_with(mirror, models):
    (fetched,) = fetch(["hf:org/repo/toy.ckpt"])
    (planned,) = plan_removal(["hf:org/repo/toy.ckpt"])
    remove(planned)
    assert not fetched.path.exists()
    with pytest.raises(NotFound, match="nothing to remove"):
        plan_removal(["hf:org/repo/toy.ckpt"])
