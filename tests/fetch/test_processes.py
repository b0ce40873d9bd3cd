"""Real processes: killed at any moment, two at once, and a disk that runs full."""

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
from animdiff_cli.fetch.auth import Network
from animdiff_cli.fetch.install import install_item
from animdiff_cli.fetch.items import Item
from animdiff_cli.fetch.part import bytes_waiting
from animdiff_cli.fetch.plan import make_plan
from animdiff_cli.fetch.remote import Remote
from animdiff_cli.fetch.transfer import part_path, transfer

KILLS = 25  # for a file of known hash, and again for one of unknown
SIZE = 6_000_000
SEGMENT = 300_000

# processes that have imported the downloader already, so that fifty of them start in little time
processes = get_context("forkserver")
processes.set_forkserver_preload([__name__, "animdiff_cli.fetch.install", "animdiff_cli.fetch.plan"])


def fetch_whole(url: str, target: Path, sha256: str | None) -> None:
    transfers.SEGMENT = SEGMENT
    transfer(Remote(url, target.name, sha256=sha256), target, Network(), ignore)


def fetch_item(url: str, target: Path) -> None:
    item = Item("toy", None, (ModelRef("url", url),), target)
    (planned,) = make_plan([item], Network()).items
    install_item(item, planned.offer, Network(), ignore)


def fetch_on_a_full_disk(url: str, target: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        fetch_item(url, target)
    except UsageError as error:
        os._exit(20 + error.exit_code)


def fetch_into_a_forbidden_folder(url: str, target: Path) -> None:
    if os.geteuid() == 0:
        os.seteuid(65534)  # nothing is forbidden to root
    try:
        fetch_item(url, target)
    except UsageError as error:
        os._exit(20 + error.exit_code)


def start(work, *arguments):
    process = processes.Process(target=work, args=arguments)
    process.start()
    return process


@pytest.mark.parametrize("is_known", [True, False], ids=["hash-known", "hash-unknown"])
def test_fifty_kills_at_random_moments_never_leave_a_corrupt_file_nor_cost_a_byte_written_down(
    site, make_bytes, tmp_path, is_known
):
    data, target, chance = make_bytes(SIZE), tmp_path / "model.bin", random.Random(is_known)
    url = site.put("/f", data, seconds_per_block=0.1)
    sha256 = hashlib.sha256(data).hexdigest() if is_known else None
    waiting = 0
    for _ in range(KILLS):
        process = start(fetch_whole, url, target, sha256)
        process.join(chance.uniform(0.02, 0.25))
        assert process.exitcode is None
        process.kill()
        process.join()
        assert not target.exists()
        assert bytes_waiting(part_path(target)) >= waiting
        waiting = bytes_waiting(part_path(target))
    assert waiting > 0
    begun = len(site.seen)
    site.put("/f", data)
    transfer(Remote(url, target.name, sha256=sha256), target, Network(), ignore)
    asked = [tuple(map(int, seen.range.removeprefix("bytes=").split("-"))) for seen in site.seen[begun:]]
    assert target.read_bytes() == data
    assert sum(last + 1 - first for first, last in asked) == SIZE - waiting
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("model")) == ["model.bin"]


def test_two_processes_that_want_the_same_file_fetch_it_once(site, make_bytes, models):
    data = make_bytes(1_000_000)
    url = site.put("/f", data, seconds_per_block=0.005)
    pair = [start(fetch_item, url, models / "toy.bin") for _ in range(2)]
    for process in pair:
        process.join()
    assert [process.exitcode for process in pair] == [0, 0]
    assert (models / "toy.bin").read_bytes() == data
    assert site.sent <= len(data) + 2  # one byte each tells the size


def test_the_lock_of_a_killed_process_holds_nobody_up(site, make_bytes, models):
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


def test_a_disk_that_runs_full_is_a_plain_failure_and_keeps_what_arrived(site, make_bytes, models):
    data = make_bytes(3_000_000)
    url = site.put("/f", data)
    process = start(fetch_on_a_full_disk, url, models / "toy.bin")
    process.join()
    assert process.exitcode == 22
    assert not (models / "toy.bin").exists()
    assert bytes_waiting(models / "toy.bin.part") > 0
    fetch_item(url, models / "toy.bin")
    assert (models / "toy.bin").read_bytes() == data


def test_a_folder_that_may_not_be_written_is_a_plain_failure(site, models):
    url = site.put("/f", b"data")
    models.mkdir(mode=0o555)
    process = start(fetch_into_a_forbidden_folder, url, models / "kind" / "toy.bin")
    process.join()
    assert process.exitcode == 22
