"""CPU threads of torch: their number, and how they wait. To be set before torch is imported."""

import os
import sys
from collections.abc import MutableMapping

#: Idle OpenMP threads spin for milliseconds by default, which slows renders down several times when another process
#: needs the core. A short spin keeps most of the speed of an idle machine.
SPIN = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
#: variables with which a user chooses how threads wait
CHOSEN = ("OMP_WAIT_POLICY", *SPIN)


def prepare_threads(threads: int | None, environ: MutableMapping[str, str] = os.environ) -> int | None:
    """Set how torch's threads wait, unless the environment says so, and their number, if given. Returns `threads`."""
    if not any(name in environ for name in CHOSEN):
        environ.update(SPIN)
    if threads is not None:
        environ["OMP_NUM_THREADS"] = str(threads)
        if "torch" in sys.modules:  # it has read the environment already
            sys.modules["torch"].set_num_threads(threads)
    return threads
