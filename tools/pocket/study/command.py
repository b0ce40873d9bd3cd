"""`python -m tools.pocket study`: make docs/pocket-study.md, from footage and trainings to the page.

The same command goes on where it was stopped, and does nothing twice. Every job has its log in WORK/logs.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tools.pocket.study.conditions import PARTS, Part
from tools.pocket.study.jobs import Outcome, Runner
from tools.pocket.study.settings import PHASES, SCALES

ROOT = Path(__file__).resolve().parents[3]


def main(argv: Sequence[str]) -> int:
    """Do what was asked for; returns 0 if nothing failed or was left out."""
    arguments = _parser().parse_args(argv)
    work = arguments.work or Path(".pocket") / ("study" if arguments.scale == "full" else f"study-{arguments.scale}")
    parts, phases = arguments.only or PARTS, arguments.phase or (*PHASES, "page")
    if "all" in phases:
        phases = (*PHASES, "page")
    try:
        outcome = _run(arguments, work, parts, [phase for phase in PHASES if phase in phases])
    except KeyboardInterrupt:  # which the trainings have received as well, and saved
        return 130
    if "page" in phases:
        from tools.pocket.study.measures import collect
        from tools.pocket.study.publish import publish

        for path in publish(collect(work, arguments.scale), work, arguments.docs):
            print(path)
    return 0 if outcome.complete else 1


def _run(arguments: argparse.Namespace, work: Path, parts: Sequence[Part], phases: Sequence[str]) -> Outcome:
    if not phases:
        return Outcome()
    from animdiff_cli.diffusion.device import plan_device, probe_machine
    from tools.pocket.study.plan import study_jobs
    from tools.pocket.study.trainings import Study, write_settings

    kind = plan_device(probe_machine(), arguments.device).kind
    environment = _environment(work, arguments.parallel)
    os.environ.update(environment)  # for the processes of the pool as well
    stop_at = time.monotonic() + 60 * arguments.minutes if arguments.minutes else float("inf")
    with ProcessPoolExecutor(arguments.parallel, mp_context=get_context("spawn")) as pool:
        study = Study(work, SCALES[arguments.scale], arguments.scale, arguments.device, kind, arguments.workers, pool)
        write_settings(study)
        runner = Runner(work, arguments.parallel, environment, _tell, stop_at)
        runner.on_stop = lambda: _stop(pool)
        left_out = set(arguments.without)
        outcome = runner.run([job for job in study_jobs(study, parts, phases) if job.name not in left_out])
    _report(outcome)
    return outcome


def _stop(pool: ProcessPoolExecutor) -> None:
    """End renders and readings where they are: they go on clip by clip when they are run again."""
    for process in list(pool._processes.values()):
        process.terminate()


def _environment(work: Path, parallel: int) -> dict[str, str]:
    """Let every process find the repository, keep latents in the work folder, and share the cores."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    threads = str(max(1, (os.cpu_count() or 1) // parallel))
    return {
        "OMP_NUM_THREADS": threads,
        "ANIMDIFF_CACHE": str((work / "cache").resolve()),
        "PYTHONUNBUFFERED": "1",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def _report(outcome: Outcome) -> None:
    _tell(f"{len(outcome.done)} jobs done, {len(outcome.failed)} failed, {len(outcome.left_out)} left out")
    for name, why in outcome.failed.items():
        _tell(f"failed: {name}: {why}")
    for name, why in outcome.left_out.items():
        _tell(f"left out: {name}, for want of {why}")


def _parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser("python -m tools.pocket study", description=__doc__)
    flags.add_argument("--work", type=Path, help="keeps everything that is made (default: .pocket/study)")
    flags.add_argument("--scale", choices=tuple(SCALES), default="full")
    flags.add_argument("--device", default="auto", help="as `animdiff generate --device`")
    flags.add_argument("--parallel", type=int, default=2, help="jobs at a time (default: %(default)s)")
    flags.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that draw footage")
    flags.add_argument("--phase", type=_listed(*PHASES, "page", "all"), help="one or more, by comma (default: all)")
    flags.add_argument("--only", type=_listed(*PARTS), help="parts, by comma (default: all)")
    flags.add_argument("--without", nargs="*", default=(), metavar="JOB", help="leave these out, and what needs them")
    flags.add_argument("--minutes", type=float, help="stop after so long, with everything saved")
    flags.add_argument("--docs", type=Path, default=ROOT / "docs", help="where the page goes (default: docs)")
    return flags


def _listed(*names: str) -> Callable[[str], list[str]]:
    """Make a reader of words between commas, each one of `names`."""

    def read(text: str) -> list[str]:
        words = text.split(",")
        if strangers := [word for word in words if word not in names]:
            raise argparse.ArgumentTypeError(f"`{strangers[0]}` is none of {', '.join(names)}")
        return words

    return read


def _tell(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)
