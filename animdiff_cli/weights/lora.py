"""Open a LoRA and check that it fits the weights it changes, by names and shapes alone. `lora_merge` applies it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from animdiff_cli.core.choices import LoraAlphaMode
from animdiff_cli.core.text import counted
from animdiff_cli.errors import UsageError
from animdiff_cli.weights.canonical import refuse_keys
from animdiff_cli.weights.files import WeightFile, refuse_unusable
from animdiff_cli.weights.lazy import LazyTensor
from animdiff_cli.weights.lora_layouts import Alphas, module_of, read_alphas, read_names
from animdiff_cli.weights.lora_names import BUNDLED, LoraName, parse_key
from animdiff_cli.weights.lora_relative import GLORA_ROLES, fits, is_relative

ModuleTensors = Mapping[str, LazyTensor]  # the tensors of one module by role
Shapes = Mapping[str, tuple[int, ...]]  # by canonical weight name (`unet.conv_in.weight`)


@dataclass(frozen=True, slots=True)
class LoraWeights:
    """An open LoRA: its tensors by canonical module name (`unet.…`), none of them read yet, and its scale."""

    source: str
    modules: Mapping[str, ModuleTensors]
    alphas: Mapping[str, float]
    scale: float
    unknown: tuple[str, ...] = ()  # keys of no known layout, which are left out


@dataclass(frozen=True, slots=True)
class CheckedLora:
    """A LoRA reduced to the modules that the target has, and the names of the others."""

    lora: LoraWeights
    missing: tuple[str, ...]

    @property
    def note(self) -> str | None:
        """Describe what is left out; None if nothing is."""
        notes = []
        if self.missing:
            count, total = len(self.missing), len(self.missing) + len(self.lora.modules)
            notes.append(f"not in the model: {count} of its {counted(total, 'module')}, such as `{self.missing[0]}`")
        if unknown := self.lora.unknown:
            notes.append(f"left out: {counted(len(unknown), 'key')} of no known layout, such as `{unknown[0][:120]}`")
        return f"{self.lora.source}: {'; '.join(notes)}" if notes else None


def open_lora(
    file: WeightFile, scale: float = 1.0, alpha_mode: LoraAlphaMode = "alpha", *, strict: bool = True
) -> LoraWeights:
    """Open a LoRA of any layout. `alpha_mode` "official" ignores its alphas, as the original code does.

    Unless `strict`, keys of no known layout are left out. Raises `IntegrityError` for them otherwise, and for modules
    with factors missing.
    """
    with refuse_unusable(file.path.name):
        return _open_lora(file, scale, alpha_mode, strict)


def _open_lora(file: WeightFile, scale: float, alpha_mode: LoraAlphaMode, strict: bool) -> LoraWeights:
    names = read_names(file, strict=strict)
    modules: dict[str, dict[str, LazyTensor]] = {}
    for name, tensor in names.items():
        modules.setdefault(module_of(name), {})[name.role] = tensor
    values = dict(alphas.values) if (alphas := _alphas(file, names, alpha_mode)) else {}
    for module in list(modules):
        _split(module, modules, values)
    if incomplete := [module for module, tensors in modules.items() if not _is_complete(set(tensors))]:
        refuse_keys(incomplete, file.path.name, "a factor of the module's low-rank product is missing")
    unknown = tuple(key for key in file.tensors if parse_key(key) is None and not key.startswith(BUNDLED))
    return LoraWeights(file.path.name, modules, values, scale, unknown)


def _alphas(file: WeightFile, names: Mapping[LoraName, LazyTensor], alpha_mode: LoraAlphaMode) -> Alphas | None:
    return read_alphas(file, names) if alpha_mode == "alpha" else None


def _split(module: str, modules: dict[str, dict[str, LazyTensor]], alphas: dict[str, float]) -> None:
    """Make changes of a bias, and a full matrix beside a product, modules of their own, named after the weight."""
    tensors = modules[module]
    if weight := tensors.pop("w_norm", None):
        tensors["diff"] = weight
    if bias := tensors.pop("diff_b", None) or tensors.pop("b_norm", None):
        modules[f"{module}.bias"] = {"diff": bias}
    if (bias := tensors.pop("up_bias", None)) and "down" in tensors:
        modules[f"{module}.bias"] = {"up_bias": bias, "down": tensors["down"]}
        if module in alphas:
            alphas[f"{module}.bias"] = alphas[module]
    others = tensors.keys() - {"alpha", "scalar"}
    if "diff" in others and len(others) > 1:
        modules[f"{module}.weight"] = {"diff": tensors.pop("diff")}
    if not others:
        del modules[module]


def check_lora(lora: LoraWeights, shapes: Shapes, target: str) -> CheckedLora:
    """Match a LoRA with the weights of `target`. Raises `UsageError` if a shape differs or no module matches."""
    found: dict[str, ModuleTensors] = {}
    for module, tensors in lora.modules.items():
        shape = shapes.get(f"{module}.weight") or shapes.get(module)
        if shape is not None:
            with refuse_unusable(lora.source):
                _check_shape(tensors, shape, module, lora, target)
            found[module] = tensors
    missing = tuple(module for module in lora.modules if module not in found)
    if not found:
        example = f", such as `{missing[0]}`" if missing else ""
        raise UsageError(
            f"{lora.source} changes nothing in {target}, which has none of its"
            f" {counted(len(missing), 'module')}{example}",
            hint="see what it was made for: `animdiff inspect FILE`",
        )
    return CheckedLora(replace(lora, modules=found), missing)


def delta_size(tensors: ModuleTensors) -> tuple[int, int]:
    """Return the first dimension and the number of elements of ΔW, for families that do not depend on W."""
    shape = {role: tensor.shape for role, tensor in tensors.items()}
    if full := shape.get("diff", shape.get("up_bias")):
        return full[0], prod(full)
    if "up" in shape:
        rows, rest = shape["up"][0], prod(shape["down"][1:])
        return rows, rows * rest * (prod(shape["mid"][2:]) if "mid" in shape else 1)
    if "hada_w1_a" in shape:
        core = shape.get("hada_t1")
        rows = shape["hada_w1_a"][1 if core else 0]
        return rows, rows * prod(shape["hada_w1_b"][1:]) * (prod(core[2:]) if core else 1)
    first, second = _factor_shape(shape, "lokr_w1"), _factor_shape(shape, "lokr_w2")
    return first[0] * second[0], prod(first) * prod(second)


def _is_complete(roles: set[str]) -> bool:
    products = (
        {"ia3"},
        {"oft_blocks"},
        GLORA_ROLES,
        {"diff"},
        {"up_bias", "down"},
        {"down", "up"},
        {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"},
    )
    lokr = all(f"lokr_{w}" in roles or {f"lokr_{w}_a", f"lokr_{w}_b"} <= roles for w in ("w1", "w2"))
    return lokr or any(product <= roles for product in products)


def _factor_shape(shape: Shapes, name: str) -> tuple[int, ...]:
    """Return the shape of one factor of a Kronecker product, which may itself be a product."""
    if name in shape:
        return shape[name]
    a, b, core = shape[f"{name}_a"], shape[f"{name}_b"], shape.get(name.replace("w2", "t2"))
    if core and name == "lokr_w2":
        return (a[1], b[1], *core[2:])
    return (a[0], *b[1:])


def _check_shape(tensors: ModuleTensors, shape: tuple[int, ...], module: str, lora: LoraWeights, target: str) -> None:
    if is_relative(tensors):
        size = None if fits(tensors, shape) else "for another shape"
    else:
        rows, count = delta_size(tensors)
        size = None if (rows, count) == (shape[0], prod(shape)) else f"{rows} x {count // rows}"
    if size:
        raise UsageError(
            f"{lora.source} does not fit {target}: its change of `{module}` is {size},"
            f" the weight is {' x '.join(map(str, shape))}",
            hint="it was made for a model of another base: `animdiff inspect FILE` shows which",
        )
