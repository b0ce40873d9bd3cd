"""Layers that name several motion modules: the first of them is `motion_module`, which recommendations follow."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from animdiff_cli.config.layers import Layer
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS, refs_in
from animdiff_cli.errors import UsageError

_ONE, _SEVERAL = "motion_module", "motion_modules"


def with_first_module(layers: Sequence[Layer]) -> list[Layer]:
    """Name the first of `motion_modules` as `motion_module`; a layer with `motion_module` alone replaces several.

    Raises `UsageError` for a layer whose two settings contradict each other.
    """
    if not any(layer.values.get(_SEVERAL) for layer in layers):
        return list(layers)
    return [replace(layer, values=_consistent(layer)) for layer in layers]


def _consistent(layer: Layer) -> Mapping[str, object]:
    refs = refs_in(WEIGHT_SETTINGS[_SEVERAL], layer.values.get(_SEVERAL))
    one = layer.values.get(_ONE)
    if refs:
        if one is not None and one != refs[0]:
            raise UsageError(
                f"{layer.origin(_ONE)}: `{_ONE}` is `{one}`, and the first of `{_SEVERAL}` is `{refs[0]}`",
                hint=f"leave `{_ONE}` out",
            )
        return {**layer.values, _ONE: refs[0]}
    return {_SEVERAL: (), **layer.values} if _ONE in layer.values else layer.values
