"""Convert LoRAs between the kohya, peft, diffusers and original layouts.

Only the kohya layout stores alpha as a tensor. Other layouts store it in metadata, which diffusers 0.34 and later read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from animdiff_cli.errors import IntegrityError
from animdiff_cli.files.untrusted import parse_json
from animdiff_cli.weights.canonical import ConvertedWeights, refuse_keys
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.folders import PEFT_KEY
from animdiff_cli.weights.info import KIND_KEY, VERSION_KEY, WeightsInfo
from animdiff_cli.weights.lazy import FLOATS, LazyTensor, torch_dtype, wrap_tensor
from animdiff_cli.weights.lora_names import Layout, LoraName, format_key, parse_key

#: metadata key of the alphas: dtype, shape, and value by module
ALPHAS_KEY = "animdiff.alphas"
TO_METADATA = "alpha: stored in metadata, because this layout has no key for it"
FROM_METADATA = "alpha: restored from metadata"
RANK_AS_ALPHA = "alpha: equal to the rank, which does not change the scale"


@dataclass(frozen=True, slots=True)
class Alphas:
    """The alphas of a LoRA by canonical module name (`unet.…`), and their dtype and shape in the file."""

    values: Mapping[str, float]
    dtype: str = "F32"
    shape: tuple[int, ...] = ()

    def tensor(self, module: str) -> LazyTensor:
        """Return the alpha of one module as a tensor."""
        return wrap_tensor(torch.full(self.shape, self.values[module], dtype=torch_dtype(self.dtype)))

    def metadata(self) -> str:
        """Return all alphas as JSON."""
        return json.dumps({"dtype": self.dtype, "shape": self.shape, "values": self.values}, sort_keys=True)


def read_names(file: WeightFile, *, strict: bool = True) -> dict[LoraName, LazyTensor]:
    """Parse the keys of a LoRA. Raises `IntegrityError` for unknown keys if `strict`, and for incomplete pairs."""
    parsed = {key: parse_key(key) for key in file.tensors}
    unknown = [key for key, found in parsed.items() if found is None]
    if unknown and (strict or len(unknown) == len(parsed)):
        refuse_keys(unknown, file.path.name, "no known LoRA layout has this key")
    names = {found[1]: file.tensors[key] for key, found in parsed.items() if found}
    _check_pairs(names, file.path.name)
    return names


def read_alphas(file: WeightFile, names: Mapping[LoraName, LazyTensor]) -> Alphas | None:
    """Read the alphas of a LoRA from tensors or metadata; None if it has none, which means alpha = rank."""
    stored = {name: tensor for name, tensor in names.items() if name.role == "alpha"}
    if stored:
        first = next(iter(stored.values()))
        values = {module_of(name): float(tensor.read().float()) for name, tensor in stored.items()}
        return Alphas(values, first.dtype, first.shape)
    if ALPHAS_KEY in file.metadata:
        stored_alphas: Mapping[str, Any] = _json(file, ALPHAS_KEY)
        return Alphas(stored_alphas["values"], stored_alphas["dtype"], tuple(stored_alphas["shape"]))
    return _peft_alphas(_json(file, PEFT_KEY), names) if PEFT_KEY in file.metadata else None


def convert_lora(file: WeightFile, info: WeightsInfo, target: Layout) -> ConvertedWeights:
    """Convert a LoRA. Raises `IntegrityError` for tensors that `target` cannot express."""
    names = read_names(file)
    alphas = read_alphas(file, names)
    weights = {name: tensor for name, tensor in names.items() if name.role != "alpha"}
    renamed = {name: format_key(name, target, two_encoders=info.base == "sdxl") for name in weights}
    if unsupported := [f"{module_of(name)} ({name.role})" for name, key in renamed.items() if key is None]:
        refuse_keys(
            unsupported,
            file.path.name,
            f"the {target} layout has no key for it; merge the LoRA into a model: `--merge-lora`",
        )
    tensors = {key: weights[name] for name, key in renamed.items() if key}
    metadata = _metadata(file, info)
    if target == "kohya":
        return _with_alphas(tensors, weights, alphas, info, metadata)
    dropped = {f"{module_of(name)}.alpha": TO_METADATA for name in names if name.role == "alpha"}
    metadata |= _alphas_as_metadata(alphas, weights, target, file)
    return ConvertedWeights({"": tensors}, dropped=dropped, metadata=metadata)


def module_of(name: LoraName) -> str:
    """Return the canonical name of a module, with its part."""
    return f"{name.part}.{name.module}"


def ranks(names: Mapping[LoraName, LazyTensor]) -> dict[str, int]:
    """Return the rank of each module."""
    return {module_of(name): tensor.num_rows for name, tensor in names.items() if name.role == "down"}


def _with_alphas(
    tensors: dict[str, LazyTensor],
    weights: Mapping[LoraName, LazyTensor],
    alphas: Alphas | None,
    info: WeightsInfo,
    metadata: dict[str, str],
) -> ConvertedWeights:
    """Add the alpha of every module as a tensor; its rank if the file has no alphas."""
    had_tensors = info.format == "kohya"
    known_alphas = alphas or Alphas({} if had_tensors else {name: float(rank) for name, rank in ranks(weights).items()})
    reason = FROM_METADATA if alphas else RANK_AS_ALPHA
    added: dict[str, str] = {}
    for name in {module_of(name): name for name in weights}.values():
        if module_of(name) in known_alphas.values:
            alpha = LoraName(name.part, name.module, "alpha")
            key = format_key(alpha, "kohya", two_encoders=info.base == "sdxl")
            assert key is not None
            tensors = tensors | {key: known_alphas.tensor(module_of(name))}
            added |= {} if had_tensors else {key: reason}
    return ConvertedWeights({"": tensors}, added, metadata=metadata)


def _alphas_as_metadata(
    alphas: Alphas | None, names: Mapping[LoraName, LazyTensor], target: Layout, file: WeightFile
) -> dict[str, str]:
    """Return metadata with the alphas. peft's settings are left out if every alpha equals its rank."""
    if alphas is None:
        return {ALPHAS_KEY: Alphas({}).metadata()}
    metadata = {ALPHAS_KEY: alphas.metadata()}
    sizes = ranks(names)
    if all(alphas.values.get(module, rank) == rank for module, rank in sizes.items()):
        return metadata
    if target == "original":
        raise IntegrityError(
            f"{file.path.name} has alphas that differ from its ranks, which readers of the original layout ignore",
            hint="use `--to kohya` or `--to peft`",
        )
    return metadata | {PEFT_KEY: json.dumps(_peft_settings(alphas, sizes), sort_keys=True)}


def _peft_settings(alphas: Alphas, sizes: Mapping[str, int]) -> dict[str, object]:
    """Return ranks and alphas as `LoraConfig` fields, prefixed by part."""
    settings: dict[str, object] = {}
    for part in sorted({module.partition(".")[0] for module in sizes}):
        modules = {m.removeprefix(f"{part}."): r for m, r in sizes.items() if m.startswith(f"{part}.")}
        values = {m: alphas.values.get(f"{part}.{m}", float(rank)) for m, rank in modules.items()}
        first = next(iter(modules))
        settings |= {
            f"{part}.r": modules[first],
            f"{part}.lora_alpha": values[first],
            f"{part}.rank_pattern": {m: rank for m, rank in modules.items() if rank != modules[first]},
            f"{part}.alpha_pattern": {m: alpha for m, alpha in values.items() if alpha != values[first]},
            f"{part}.target_modules": sorted(modules),
        }
    return settings


def _peft_alphas(settings: Mapping[str, object], names: Mapping[LoraName, LazyTensor]) -> Alphas | None:
    values = {}
    for module, rank in ranks(names).items():
        part, _, inner = module.partition(".")
        pattern = settings.get(f"{part}.alpha_pattern")
        exact = pattern.get(inner, pattern.get(f"^{inner}")) if isinstance(pattern, dict) else None
        alpha = exact if exact is not None else settings.get(f"{part}.lora_alpha", rank)
        # rsLoRA (arXiv 2312.03732) multiplies by alpha / sqrt(rank)
        stabilized = float(rank) ** 0.5 if settings.get(f"{part}.use_rslora") is True else 1.0
        values[module] = (float(alpha) if isinstance(alpha, int | float) else float(rank)) * stabilized
    return Alphas(values)


def _json(file: WeightFile, key: str) -> dict[str, object]:
    try:
        table = parse_json(file.metadata[key])
    except ValueError as error:
        raise IntegrityError(f"{file.path.name}: its metadata `{key}` is not JSON") from error
    if not isinstance(table, dict) or (key == ALPHAS_KEY and not _is_alphas(table)):
        raise IntegrityError(f"{file.path.name}: its metadata `{key}` is invalid")
    return table


def _is_alphas(table: Mapping[str, object]) -> bool:
    values, shape = table.get("values"), table.get("shape")
    numbers = isinstance(values, dict) and all(isinstance(value, int | float) for value in values.values())
    return numbers and table.get("dtype") in FLOATS.values() and shape in ([], [1])


def _metadata(file: WeightFile, info: WeightsInfo) -> dict[str, str]:
    carried = {key: value for key, value in file.metadata.items() if key not in (ALPHAS_KEY, PEFT_KEY)}
    version = {VERSION_KEY: info.version} if info.version else {}
    return carried | {KIND_KEY: info.kind} | version


def _check_pairs(names: Mapping[LoraName, LazyTensor], source: str) -> None:
    downs = {module_of(name): tensor for name, tensor in names.items() if name.role == "down"}
    ups = {module_of(name): tensor for name, tensor in names.items() if name.role == "up"}
    if halves := sorted(downs.keys() ^ ups.keys()):
        side = "up" if halves[0] in downs else "down"
        raise IntegrityError(f"{source}: `{halves[0]}` has no {side} matrix", hint="download the file again")
    for module, down in downs.items():
        if len(down.shape) < 2 or len(ups[module].shape) < 2 or down.num_rows != ups[module].shape[1]:
            shapes = f"{ups[module].shape} and {down.shape}"
            raise IntegrityError(f"{source}: `{module}`: shapes {shapes} do not match")
