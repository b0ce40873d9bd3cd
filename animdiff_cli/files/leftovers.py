"""Hidden files of killed processes: find them by name, and clean up after processes that no longer run.

A hidden name ends in `.partial-PID-START-MACHINE`, or `.replaced-…` for a folder that was about to be replaced. START
tells a process from a later one with the same PID. MACHINE tells processes of other machines and containers, which may
share the folder: whether they run is unknown here, so their files are removed only after a day without changes.
"""

import hashlib
import os
import platform
import re
import shutil
import time
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

MAX_IDLE_S = 24 * 60 * 60

_HIDDEN = re.compile(
    r"\.(?P<name>.+)\.(?P<purpose>partial|replaced)-(?P<pid>\d{1,10})(?:-(?P<start>\d{1,20})-(?P<machine>[0-9a-f]{8}))?",
    re.ASCII | re.DOTALL,
)


def hidden_suffix(purpose: str) -> str:
    """Return the end of a hidden name of this process. `purpose`: `partial` or `replaced`."""
    pid = os.getpid()
    return f".{purpose}-{pid}-{_start_of(pid)}-{_machine()}"


def sweep(folder: Path) -> None:
    """Remove partial files of killed processes from a folder, and restore a folder that one was about to replace."""
    with suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 — half the time of `iterdir` in a folder of thousands
            match = _HIDDEN.fullmatch(name) if name.startswith(".") else None
            if match and _is_abandoned(match, folder / name):
                with suppress(OSError):  # another process may be cleaning up at the same time
                    _clean_up(folder / name, match["purpose"], folder / match["name"])


@lru_cache(maxsize=256)
def sweep_once(folder: Path) -> None:
    """Sweep a folder if this process has not done so yet."""
    sweep(folder)


def _clean_up(hidden: Path, purpose: str, target: Path) -> None:
    if purpose == "replaced" and not os.path.lexists(target):
        hidden.rename(target)
    elif hidden.is_dir() and not hidden.is_symlink():
        shutil.rmtree(hidden)
    else:
        hidden.unlink()


def _is_abandoned(match: re.Match[str], path: Path) -> bool:
    if os.name != "posix" or match["machine"] not in (None, _machine()):
        with suppress(OSError):
            return time.time() - path.lstat().st_mtime > MAX_IDLE_S
        return False
    pid = int(match["pid"])
    return not _is_running(pid) or match["start"] not in (None, "0", _start_of(pid))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # a process of another user
        return True
    return True


def _start_of(pid: int) -> str:
    """Return the start time of a process in clock ticks since boot; "0" if unknown."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2]
        return after_name.split()[19].decode("ascii")  # field 22, see proc_pid_stat(5)
    except (OSError, IndexError, UnicodeDecodeError):
        return "0"


@cache
def _machine() -> str:
    """Return 8 hexadecimal digits that identify this boot of this machine, and the container if any."""
    facts = [platform.node()]
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        facts.append(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115
    return hashlib.sha256("\n".join(facts).encode(errors="replace")).hexdigest()[:8]
