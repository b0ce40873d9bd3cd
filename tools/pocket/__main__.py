"""`python -m tools.pocket train` makes the pocket model, `refine` continues its training, `measure` evaluates it.

`encoder` trains a small CLIP on the same world, for `animdiff evaluate --clip`, `temporal-conv` the paper's ablation
of the motion module, `control` a ControlNet on outlines, `sparse` a SparseCtrl on pictures and `image-prompt` an
IP-Adapter; `steering` measures these three. `footage` draws training data for `animdiff train-*`,
`bundle` installs its results into the bundle. `study` makes docs/pocket-study.md, `length` measures long clips and
loops, `regions` the prompts of halves.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

NAMES = (
    *("train", "refine", "measure", "encoder", "footage", "temporal-conv"),
    *("control", "sparse", "image-prompt", "steering", "bundle", "study", "length", "regions"),
)
COMMANDS = {name: f"tools.pocket.{name.replace('-', '_')}" for name in NAMES}


def main(argv: Sequence[str]) -> int:
    """Run the command that the first argument names; return the exit status."""
    if not argv or argv[0] not in COMMANDS:
        print(f"usage: python -m tools.pocket {{{'|'.join(COMMANDS)}}} …", file=sys.stderr)
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    # import only the libraries of the chosen command
    return import_module(COMMANDS[argv[0]]).main(argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
