"""Whether a LoRA fits the weights it is to change, told by names and shapes before any number is read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from animdiff_cli.errors import UsageError
from animdiff_cli.weights.lora_merge import Group, Merge

Shapes = Mapping[str, tuple[int, ...]]  # of every weight there is, by its canonical name (`unet.conv_in.weight`)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A LoRA reduced to the modules that are there, and the names of those that are not."""

    merge: Merge
    missing: tuple[str, ...]

    @property
    def note(self) -> str | None:
        """Say what is left out; None where nothing is."""
        if not self.missing:
            return None
        count, total = len(self.missing), len(self.missing) + len(self.merge.groups)
        return f"{self.merge.source}: {count} of its {total} modules are not in the model, such as `{self.missing[0]}`"


def fit(merge: Merge, shapes: Shapes, target: str) -> Fitted:
    """Match a LoRA with the weights of `target`. Raises `UsageError` if a shape differs, or nothing at all matches."""
    found: dict[str, Group] = {}
    for module, group in merge.groups.items():
        shape = shapes.get(f"{module}.weight") or shapes.get(module)
        if shape is not None:
            _check_shape(group, shape, module, merge, target)
            found[module] = group
    missing = tuple(module for module in merge.groups if module not in found)
    if not found:
        example = f", such as `{missing[0]}`" if missing else ""
        raise UsageError(
            f"{merge.source} changes nothing in {target}: none of its {len(missing)} modules is there{example}",
            hint="`animdiff inspect` tells what it was made for",
        )
    return Fitted(replace(merge, groups=found), missing)


def changed_size(group: Group) -> tuple[int, int]:
    """Tell height and count of numbers of the weight that one module's tensors change, for every family."""
    shape = {role: tensor.shape for role, tensor in group.items()}
    if "up" in shape:
        height, rest = shape["up"][0], prod(shape["down"][1:])
        return height, height * rest * (prod(shape["mid"][2:]) if "mid" in shape else 1)
    if "hada_w1_a" in shape:
        core = shape.get("hada_t1")
        height = shape["hada_w1_a"][1 if core else 0]
        return height, height * prod(shape["hada_w1_b"][1:]) * (prod(core[2:]) if core else 1)
    first, second = _factor(shape, "lokr_w1"), _factor(shape, "lokr_w2")
    return first[0] * second[0], prod(first) * prod(second)


def _factor(shape: Shapes, name: str) -> tuple[int, ...]:
    """Tell the shape of one factor of a Kronecker product, which may itself be a product."""
    if name in shape:
        return shape[name]
    a, b, core = shape[f"{name}_a"], shape[f"{name}_b"], shape.get(name.replace("w2", "t2"))
    if core and name == "lokr_w2":
        return (a[1], b[1], *core[2:])
    return (a[0], *b[1:])


def _check_shape(group: Group, shape: tuple[int, ...], module: str, merge: Merge, target: str) -> None:
    height, count = changed_size(group)
    if (height, count) != (shape[0], prod(shape)):
        raise UsageError(
            f"{merge.source} does not fit {target}: it changes `{module}` as {height} x {count // height},"
            f" there it is {' x '.join(map(str, shape))}",
            hint="it was made for a model of another base: `animdiff inspect` tells which",
        )
