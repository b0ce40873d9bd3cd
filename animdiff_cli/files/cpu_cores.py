"""How many CPU cores this process may use."""

import os
from math import ceil
from pathlib import Path
from typing import NamedTuple


class Cores(NamedTuple):
    """A number of cores, and what limits it, for messages."""

    number: int
    reason: str


def usable_cores(root: Path = Path("/")) -> Cores:
    """Count the physical cores of the CPUs that this process may run on, at most the CPU quota of its container.

    A second thread on one core slows matrix products down. Systems without `/sys` are asked for their CPUs.
    """
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    topology = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    cores = {_text(root / topology.format(cpu)) or str(cpu) for cpu in cpus}
    quota = _quota(root / "sys/fs/cgroup")
    if quota is not None and quota < len(cores):
        return Cores(quota, "the CPU quota of this container")
    return Cores(len(cores), "one for each physical core")


def _quota(cgroup: Path) -> int | None:
    """Return the whole cores of a container's quota, rounded up; None without one."""
    texts = (_text(cgroup / "cpu.max") or "").split()  # version 2
    if not texts:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        texts = [_text(cgroup / "cpu" / name) or "" for name in names]
    if len(texts) != 2 or not all(text.isdecimal() for text in texts) or int(texts[1]) == 0:  # "max" or -1 is no quota
        return None
    return max(1, ceil(int(texts[0]) / int(texts[1])))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
