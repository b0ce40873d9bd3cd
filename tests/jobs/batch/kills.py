"""Kill a batch at random moments, again and again, and compare what comes out with an undisturbed run."""

import json
import multiprocessing
import os
import random
import shutil
import signal
from pathlib import Path

from animdiff_cli.jobs.batch.crew import BatchOptions
from animdiff_cli.jobs.batch.manifest import Manifests
from animdiff_cli.jobs.batch.records import BatchPlan
from animdiff_cli.jobs.batch.run import run_batch

#: forks this process, which has imported torch: a life costs no seconds before it renders
FORK = multiprocessing.get_context("fork")


def kill_often(plan: BatchPlan, options: BatchOptions, *, kills: int, seed: int, longest: float) -> dict[str, int]:
    """Run a batch in processes that are killed at random moments, until at least `kills` have hit an unfinished batch.

    With several workers, four of five kills hit a worker. `longest` is the most CPU seconds between two kills, so that
    a busy machine changes nothing. A batch that is finished is checked, and starts anew. Returns how many kills hit
    which process, and how many batches and clips were finished before the last run.
    """
    whole = _render_undisturbed(plan)
    folder, draw = Path(plan.output), random.Random(seed)
    hits = {"main": 0, "worker": 0, "batches": 0, "clips": 0}
    while hits["main"] + hits["worker"] < kills:
        process = FORK.Process(target=_live, args=(plan, options))
        process.start()
        while process.is_alive():
            _wait(process, draw.uniform(0, longest))
            workers = _children(process.pid)
            victim = draw.choice(workers) if workers and draw.random() < 0.8 else process.pid
            if process.is_alive() and _kill(victim):
                hits["main" if victim == process.pid else "worker"] += 1
            if victim == process.pid:
                process.join()
        if process.exitcode == 0:
            _check(folder, whole, len(plan.jobs))
            shutil.rmtree(folder)
            hits["batches"] += 1
        elif process.exitcode != -signal.SIGKILL:
            raise AssertionError(f"a run ended with {process.exitcode}")
    result = run_batch(plan, options, lambda record: None)
    hits["clips"] = result.skipped + hits["batches"] * len(plan.jobs)
    assert result.exit_code == 0 and result.done + result.skipped == len(plan.jobs)
    _check(folder, whole, len(plan.jobs))
    return hits


def _wait(process: multiprocessing.process.BaseProcess, seconds: float) -> None:
    """Wait until a run and its workers have used this many seconds of CPU time."""
    start = _cpu_seconds(process.pid)
    while process.is_alive() and _cpu_seconds(process.pid) - start < seconds:
        process.join(0.02)


def _cpu_seconds(pid: int | None) -> float:
    """Return the CPU time of a process, its children, and those of its children that have ended."""
    total = 0
    for one in (pid, *_children(pid)):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def _live(plan: BatchPlan, options: BatchOptions) -> None:
    raise SystemExit(run_batch(plan, options, lambda record: None).exit_code)


def _render_undisturbed(plan: BatchPlan) -> dict[str, bytes]:
    folder = Path(plan.output)
    run_batch(plan, BatchOptions(device="cpu", threads=1), lambda record: None)
    clips = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".gif"}
    shutil.rmtree(folder)
    assert len(clips) == len(plan.jobs)
    return clips


def _check(folder: Path, whole: dict[str, bytes], count: int) -> None:
    """Every clip is there once with the bytes of the undisturbed run, and nothing else but the manifest."""
    found = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    manifest = found.pop("manifest.jsonl").decode()
    assert found == whole, (sorted(found.keys() ^ whole.keys()), len(found))
    assert [path.name for path in folder.iterdir() if path.is_dir()] == []
    latest = Manifests(folder).latest()
    assert [line.state for line in latest.values()] == ["done"] * count
    done = [line for line in map(json.loads, filter(_is_json, manifest.splitlines())) if line["state"] == "done"]
    assert len(done) == count, "a clip was rendered again although it was done"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _children(pid: int | None) -> list[int]:
    """List the worker processes of a run; not the resource tracker of multiprocessing."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            try:
                command = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                continue
            if b"spawn_main" in command:
                found.append(int(child))
    return found


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
