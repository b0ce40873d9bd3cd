"""Read many damaged files and texts, and print how they end: `python -m tests.fuzz [SUBJECT …] --inputs N --seed S`."""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.harness import FAULTS, OUTCOMES, Result, run
from tests.fuzz.subjects import SUBJECTS


def main() -> None:
    """Run subjects one after another. Exit status 1 if any input ends in a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"default: all of {', '.join(SUBJECTS)}")
    parser.add_argument("--inputs", type=int, metavar="N", help="inputs of each subject; default: as `make test-full`")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="first seed; the others follow it")
    arguments = parser.parse_args()
    if unknown := set(arguments.subjects) - SUBJECTS.keys():
        parser.error(f"no subject {', '.join(unknown)}")
    total: Counter[str] = Counter()
    print(
        f"{'subject':<20}",
        *(f"{outcome:>{max(len(outcome), 8)}}" for outcome in OUTCOMES),
        " slowest  peak MiB  ms each",
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.subjects or SUBJECTS:
            subject = SUBJECTS[name]
            start = time.monotonic()
            seeds = range(arguments.seed, arguments.seed + (arguments.inputs or subject.full))
            results = list(run(name, subject, seeds, Path(folder)))
            counts = Counter(result.outcome for result in results)
            total += counts
            _print_row(name, counts, results, time.monotonic() - start)
            for fault in (result for result in results if result.outcome in FAULTS):
                print(f"    seed {fault.seed}: {fault.outcome}: {fault.message[-1000:]}")
    _print_row("total", total, [], 0)
    sys.exit(any(total[fault] for fault in FAULTS))


def _print_row(name: str, counts: Counter[str], results: list[Result], seconds: float) -> None:
    columns = (f"{counts[outcome]:>{max(len(outcome), 8)},}" for outcome in OUTCOMES)
    costs = ""
    if results:
        slowest = max(results, key=lambda result: result.seconds)
        peak = max(result.memory for result in results) >> 20
        costs = f"{slowest.seconds:7.1f} s {peak:9,} {1000 * seconds / len(results):8.1f}  {slowest.seed}"
    print(f"{name:<20}", *columns, costs, flush=True)


main()
