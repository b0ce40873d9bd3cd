"""Downloads in real processes: killed at random moments, two at once, and on a full disk."""

import hashlib
import os
import random
import resource
import signal
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from animdiff_cli.core.events import ignore
from animdiff_cli.core.refs import ModelRef
from animdiff_cli.errors import UsageError
from animdiff_cli.fetch import transfer as transfers
from animdiff_cli.fetch.install import install_item
from animdiff_cli.fetch.items import FetchItem
from animdiff_cli.fetch.network import Network
from animdiff_cli.fetch.part import part_path, resumable_bytes
from animdiff_cli.fetch.plan import make_plan
from animdiff_cli.fetch.remote import RemoteFile
from animdiff_cli.fetch.transfer import download_file

KILLS = 25  # with a known hash, and again without
SIZE = 6_000_000
SEGMENT = 300_000

# a fork server that has imported the downloader, so that fifty processes start quickly
processes = get_context("forkserver")
processes.set_forkserver_preload([__name__, "animdiff_cli.fetch.install", "animdiff_cli.fetch.plan"])


def fetch_file(url: str, target: Path, sha256: str | None) -> None:
    transfers.SEGMENT_BYTES = SEGMENT
    download_file(RemoteFile(url, target.name, sha256=sha256), target, Network(), ignore)


def fetch_item(url: str, target: Path) -> None:
    item = FetchItem("toy", None, (ModelRef("url", url),), target)
    (planned,) = make_plan([item], Network()).items
    install_item(item, planned.resolved, Network(), ignore)


def fetch_item_on_a_full_disk(url: str, target: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        fetch_item(url, target)
    except UsageError as error:
        os._exit(20 + error.exit_code)


def fetch_item_into_a_read_only_folder(url: str, target: Path) -> None:
    if os.geteuid() == 0:
        os.seteuid(65534)  # root may write to read-only folders
    try:
        fetch_item(url, target)
    except UsageError as error:
        os._exit(20 + error.exit_code)


def start(work, *arguments):
    process = processes.Process(target=work, args=arguments)
    process.start()
    return process


@pytest.mark.parametrize(
    "is_known", [True, pytest.param(False, marks=pytest.mark.full)], ids=["hash-known", "hash-unknown"]
)
def test_random_kills_never_corrupt_the_file_or_lose_recorded_bytes(site, make_bytes, tmp_path, is_known):
    data, target, rng = make_bytes(SIZE), tmp_path / "model.bin", random.Random(is_known)
    url = site.put("/f", data, seconds_per_block=0.1)
    sha256 = hashlib.sha256(data).hexdigest() if is_known else None
    resumable = 0
    for kill in range(10 * KILLS):
        if kill >= KILLS and resumable:
            break
        process = start(fetch_file, url, target, sha256)
        process.join(rng.uniform(0.02, 0.25) * (1 + kill // KILLS))  # longer where a busy machine receives nothing
        assert process.exitcode is None
        process.kill()
        process.join()
        assert not target.exists()
        assert resumable_bytes(part_path(target)) >= resumable
        resumable = resumable_bytes(part_path(target))
    assert resumable > 0
    before = len(site.requests)
    site.put("/f", data)
    download_file(RemoteFile(url, target.name, sha256=sha256), target, Network(), ignore)
    requested = [tuple(map(int, request.range.removeprefix("bytes=").split("-"))) for request in site.requests[before:]]
    assert target.read_bytes() == data
    assert sum(last + 1 - first for first, last in requested) == SIZE - resumable
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("model")) == ["model.bin"]


def test_two_processes_download_the_same_file_once(site, make_bytes, models):
    data = make_bytes(1_000_000)
    url = site.put("/f", data, seconds_per_block=0.005)
    pair = [start(fetch_item, url, models / "toy.bin") for _ in range(2)]
    for process in pair:
        process.join()
    assert [process.exitcode for process in pair] == [0, 0]
    assert (models / "toy.bin").read_bytes() == data
    assert site.sent <= len(data) + 2  # each process requests one byte to read the size


def test_the_lock_of_a_killed_process_is_released(site, make_bytes, models):
    data = make_bytes(1_000_000)
    url = site.put("/f", data, seconds_per_block=0.01)
    process = start(fetch_item, url, models / "toy.bin")
    while not list(models.glob("toy.bin.part*")) and process.is_alive():
        time.sleep(0.01)
    process.kill()
    process.join()
    site.put("/f", data)
    fetch_item(url, models / "toy.bin")
    assert (models / "toy.bin").read_bytes() == data


def test_a_full_disk_is_a_usage_error_and_keeps_downloaded_bytes(site, make_bytes, models):
    data = make_bytes(3_000_000)
    url = site.put("/f", data)
    process = start(fetch_item_on_a_full_disk, url, models / "toy.bin")
    process.join()
    assert process.exitcode == 22
    assert not (models / "toy.bin").exists()
    assert resumable_bytes(models / "toy.bin.part") > 0
    fetch_item(url, models / "toy.bin")
    assert (models / "toy.bin").read_bytes() == data


def test_a_read_only_folder_is_a_usage_error(site, models):
    url = site.put("/f", b"data")
    models.mkdir(mode=0o555)
    process = start(fetch_item_into_a_read_only_folder, url, models / "kind" / "toy.bin")
    process.join()
    assert process.exitcode == 22
