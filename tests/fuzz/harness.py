"""Pass damaged inputs to readers, and count how each ends.

Input `seed` of a subject is always the same file. Inputs are read one after another in a forked process, so that a
crash or a hang is seen and the rest goes on. To see one again: `python -m tests.fuzz SUBJECT --seed SEED --inputs 1`.
"""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from animdiff_cli.core.text import printable
from animdiff_cli.errors import AnimdiffError

#: seconds of computing for one input
MAX_SECONDS = 20
#: seconds after which an input counts as a hang, also on a busy machine
TIMEOUT_SECONDS = 120
#: bytes of memory that one input may take, in this process or in a decoder
MAX_MEMORY = 2 << 30
#: bytes at which the system refuses memory, which protects the machine
HARD_LIMIT = 4 << 30

Outcome = Literal["accepted", "refused", "traceback", "accepted wrongly", "hang", "over 2 GB", "crash"]
OUTCOMES: tuple[Outcome, ...] = (
    "accepted",
    "refused",
    "traceback",
    "accepted wrongly",
    "hang",
    "over 2 GB",
    "crash",
)
FAULTS = OUTCOMES[2:]


class AcceptedWrongly(Exception):
    """A reader has accepted an input and returned something else than the input contains."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One kind of input: how it is made, what reads it, and how many are tried in `make test` and `make test-full`."""

    make: Callable[[Path, random.Random], Path]  # write an input to an empty folder
    readers: tuple[Callable[[Path], object], ...]
    short: int
    full: int


@dataclass(frozen=True, slots=True)
class Result:
    """How one input ended, with what it cost."""

    seed: int
    outcome: Outcome
    message: str = ""
    seconds: float = 0.0  # of computing
    memory: int = 0  # peak in bytes


def run(name: str, subject: Subject, seeds: Iterable[int], folder: Path) -> Iterator[Result]:
    """Yield the result of each seed, in order. `folder` is used for the inputs and as the cache."""
    todo = deque(seeds)
    fork = multiprocessing.get_context("fork")
    while todo:
        receiver, sender = fork.Pipe(duplex=False)
        worker = fork.Process(target=_work, args=(name, subject, tuple(todo), folder, sender))
        worker.start()
        sender.close()
        try:
            while todo:
                result = _next_result(receiver, todo[0])
                todo.popleft()
                yield result
                if result.outcome in ("hang", "crash"):
                    break
        finally:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)  # with its decoders
            worker.join()


def require_equal(read: object, reference: object, what: str) -> None:
    """Raise `AcceptedWrongly` if two values differ."""
    if read != reference:
        raise AcceptedWrongly(f"{what} is {read!r:.200}, and should be {reference!r:.200}")


def _next_result(receiver: Connection, seed: int) -> Result:
    if not receiver.poll(TIMEOUT_SECONDS):
        return Result(seed, "hang", f"no result after {TIMEOUT_SECONDS} s", TIMEOUT_SECONDS)
    try:
        return receiver.recv()
    except EOFError:
        return Result(seed, "crash", "the process has died")


def _work(name: str, subject: Subject, seeds: Iterable[int], folder: Path, sender: Connection) -> None:
    os.setsid()
    os.environ["ANIMDIFF_CACHE"] = str(folder / "cache")
    resource.setrlimit(resource.RLIMIT_DATA, (HARD_LIMIT, HARD_LIMIT))
    for seed in seeds:
        sender.send(_try(name, subject, seed, folder / f"{name}-{seed}"))
    os._exit(0)


def _try(name: str, subject: Subject, seed: int, folder: Path) -> Result:
    folder.mkdir(parents=True)
    os.chdir(folder)
    try:
        path = subject.make(folder, random.Random(f"{name} {seed}"))
        _reset_peak()
        before, start = _peak(resource.RUSAGE_SELF), _computed_seconds()
        outcome, message = _read(subject, path)
        seconds = _computed_seconds() - start
        memory = max(_peak(resource.RUSAGE_SELF) - before, _peak(resource.RUSAGE_CHILDREN))
    finally:
        os.chdir(folder.parent)
        shutil.rmtree(folder)
    if outcome in ("accepted", "refused"):
        outcome = "hang" if seconds > MAX_SECONDS else "over 2 GB" if memory > MAX_MEMORY else outcome
    return Result(seed, outcome, message, seconds, memory)


def _read(subject: Subject, path: Path) -> tuple[Outcome, str]:
    """Call every reader. Accepted is what at least one accepts."""
    outcome: Outcome = "refused"
    for read in subject.readers:
        try:
            read(path)
            outcome = "accepted"
        except AnimdiffError as refusal:
            sentence = printable(f"{refusal} {refusal.hint}")
            if not str(refusal).strip() or "\n" in sentence:
                return "traceback", f"a refusal without a sentence: {refusal!r}"
        except AcceptedWrongly as error:
            return "accepted wrongly", str(error)
        except MemoryError:
            return "over 2 GB", traceback.format_exc()
        except Exception:
            return "traceback", traceback.format_exc()
    return outcome, ""


def _computed_seconds() -> float:
    """Return the processor time of this process and its finished children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _reset_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # see proc_pid_clear_refs(5)


def _peak(who: int) -> int:
    return 1024 * resource.getrusage(who).ru_maxrss
