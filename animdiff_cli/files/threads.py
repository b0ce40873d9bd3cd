"""CPU threads of torch: their number, and how they wait. To be set before torch is imported."""

import os
import sys
from collections.abc import Mapping, MutableMapping

from animdiff_cli.files.cpu_cores import Cores, usable_cores

#: Idle OpenMP threads spin for milliseconds by default, which slows renders down several times when another process
#: needs the core. A short spin keeps most of the speed of an idle machine.
SPIN = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
#: variables with which a user chooses how threads wait
CHOSEN = ("OMP_WAIT_POLICY", *SPIN)
#: variables that say how many threads there are, the first that is set
NUMBERS = ("ANIMDIFF_THREADS", "OMP_NUM_THREADS")


def prepare_threads(threads: int | None, environ: MutableMapping[str, str] = os.environ) -> int | None:
    """Set how torch's threads wait, unless the environment says so, and their number. Returns `threads`.

    Without a number, `OMP_NUM_THREADS` says how many there are, or `usable_cores`.
    """
    if not any(name in environ for name in CHOSEN):
        environ.update(SPIN)
    if threads is None:
        environ.setdefault("OMP_NUM_THREADS", str(usable_cores().number))
        return None
    environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:  # it has read the environment already
        sys.modules["torch"].set_num_threads(threads)
    return threads


def chosen_threads(environ: Mapping[str, str]) -> Cores:
    """Return how many threads a render has without `--threads`, and what says so."""
    for name in NUMBERS:
        if environ.get(name, "").isdecimal():
            return Cores(int(environ[name]), name)
    return usable_cores()
