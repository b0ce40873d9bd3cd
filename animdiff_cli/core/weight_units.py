"""Which layers of a network are moved to the device together, when its weights rest elsewhere."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

#: bytes of a unit, at most three of which are on the device at once
UNIT_BYTES = 64 << 20
#: part of a unit up to which a layer that is in none, such as the first convolution, stays on the device
RESIDENT_SHARE = 1 / 4


def unit_modules(
    matrices: Mapping[str, int], unit_bytes: int = UNIT_BYTES, runs: Callable[[str], bool] = lambda name: True
) -> Iterator[str]:
    """Yield the names of the largest modules of at most `unit_bytes`, from the bytes of each matrix by parameter name.

    A layer that is larger is a unit too. `runs` says whether a module is called as a whole; lists never are.

    >>> list(unit_modules({"mid.0.q.weight": 40, "mid.0.k.weight": 40, "conv.weight": 60, "in.weight": 1}, 70))
    ['mid.0.q', 'mid.0.k', 'conv']
    """
    children: dict[str, dict[str, int]] = {}
    for name, size in matrices.items():
        child, _, rest = name.partition(".")
        if rest:
            children.setdefault(child, {})[rest] = size
    for child, inside in children.items():
        size, is_layer = sum(inside.values()), not any("." in name for name in inside)
        if is_layer and size <= RESIDENT_SHARE * unit_bytes:
            continue
        is_list = all(name.partition(".")[0].isdigit() for name in inside)
        if is_layer or (size <= unit_bytes and not is_list and runs(child)):
            yield child
        else:
            below = unit_modules(inside, unit_bytes, partial(_runs_below, runs, child))
            yield from (f"{child}.{name}" for name in below)


def _runs_below(runs: Callable[[str], bool], child: str, name: str) -> bool:
    return runs(f"{child}.{name}")
