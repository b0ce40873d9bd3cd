"""Cores of machines, from files as Linux has them."""

import pytest

from animdiff_cli.files.cpu_cores import usable_cores

CPU = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
CORES, QUOTA = "one for each physical core", "the CPU quota of this container"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Make a machine of eight CPUs, two on each core."""
    for cpu in range(8):
        put(tmp_path, CPU.format(cpu), f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    return tmp_path


def put(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_two_threads_of_one_core_count_once(machine):
    assert usable_cores(machine) == (4, CORES)


def test_only_cores_count_that_this_process_may_run_on(machine, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 4, 5})
    assert usable_cores(machine) == (2, CORES)


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("200000 100000", (2, QUOTA)),
        ("150000 100000", (2, QUOTA)),
        ("50000 100000", (1, QUOTA)),
        ("900000 100000", (4, CORES)),
        ("max 100000", (4, CORES)),
        ("200000 0", (4, CORES)),
        ("nonsense", (4, CORES)),
    ],
)
def test_a_container_may_use_its_quota(machine, quota, expected):
    put(machine, "sys/fs/cgroup/cpu.max", quota)
    assert usable_cores(machine) == expected


@pytest.mark.parametrize(("quota", "count"), [("200000", 2), ("-1", 4)])
def test_a_container_of_the_first_version_may_use_its_quota(machine, quota, count):
    put(machine, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota)
    put(machine, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    assert usable_cores(machine).number == count


def test_without_a_topology_every_cpu_is_a_core(tmp_path, monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert usable_cores(tmp_path) == (3, CORES)
