"""Convert weight files: what `animdiff convert` does, callable from Python."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animdiff_cli.core.refs import ModelRef, parse_ref
from animdiff_cli.errors import UsageError
from animdiff_cli.files.atomic import atomic_write
from animdiff_cli.files.os_errors import readable_output_failures
from animdiff_cli.registry.store import locate_any
from animdiff_cli.weights.canonical import ConvertedWeights, count_by_reason
from animdiff_cli.weights.convert import MERGEABLE, Target, choose_layout, convert_file
from animdiff_cli.weights.header import DTYPE_BYTES
from animdiff_cli.weights.identify import identify_file, open_any
from animdiff_cli.weights.info import WeightsInfo
from animdiff_cli.weights.lazy import FLOATS, LazyTensor
from animdiff_cli.weights.lora import LoraWeights, open_lora
from animdiff_cli.weights.lora_names import Layout
from animdiff_cli.weights.stream import write_safetensors

#: file diffusers looks for where a folder is one model
MODEL_FILE = "diffusion_pytorch_model.safetensors"
#: configs and headers come on top of the tensors
SPARE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class ConvertPlan:
    """A conversion settled to the last key. Making it finds every mistake that can be found without reading numbers."""

    source: Path
    info: WeightsInfo
    target: Layout
    converted: ConvertedWeights
    output: Path

    def totals(self) -> dict[str, Any]:
        """Account for every key: how many there were, are, and why any were dropped or added."""
        dropped, added = self.converted.dropped, self.converted.added
        return {
            "source": str(self.source),
            "path": str(self.output),
            "kind": self.info.kind,
            "from": self.info.format,
            "to": self.target,
            "tensors": self.info.tensors,
            "written": self.converted.num_tensors,
            "renamed": self.info.tensors - len(dropped),
            "added": count_by_reason(added),
            "dropped": count_by_reason(dropped),
            "bytes": _bytes(self.converted),
        }


@dataclass(frozen=True, slots=True)
class ConvertResult:
    """What was written."""

    path: Path
    totals: Mapping[str, Any]
    not_finite: tuple[str, ...]  # tensors that hold NaN or infinity


def plan_conversion(
    source: str,
    to: Target | None = None,
    *,
    dtype: str | None = None,
    output: Path | None = None,
    merge_loras: Sequence[str] = (),
    overwrite: bool = False,
) -> ConvertPlan:
    """Settle a conversion. `source` and `merge_loras` are references, the latter with `@scale`. Writes nothing.

    Raises `NotFound` for files that are not here, `IntegrityError` for weights nobody can account for, `UsageError`
    for a layout the kind does not have or an output that is there already.
    """
    path = _find(parse_ref(source))
    file = open_any(path)
    info = identify_file(file)
    target = choose_layout(info, to, path.name)
    loras = [_open_lora(text, info, path) for text in merge_loras]
    converted = convert_file(file, info, target, FLOATS[dtype] if dtype else None, loras)
    chosen = output.expanduser() if output else _name(path, converted, to or target)
    _check_output(chosen, converted, overwrite=overwrite)
    return ConvertPlan(path, info, target, converted, chosen)


def convert_weights(plan: ConvertPlan) -> ConvertResult:
    """Write what was planned, one stretch of rows at a time, whole or not at all."""
    metadata = dict(plan.converted.metadata) | {"format": "pt"}
    if not _is_folder(plan.output, plan.converted):
        broken = write_safetensors(plan.converted.files[""], plan.output, metadata)
        return ConvertResult(plan.output, plan.totals(), broken)
    found: list[str] = []
    with readable_output_failures(plan.output, "-o"), atomic_write(plan.output) as folder:
        folder.mkdir(parents=True)
        for name, tensors in plan.converted.files.items():
            target = folder / (name or MODEL_FILE)
            target.parent.mkdir(parents=True, exist_ok=True)
            found += write_safetensors(tensors, target, metadata)
        for name, text in plan.converted.configs.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(text)
    return ConvertResult(plan.output, plan.totals(), tuple(found))


def _find(ref: ModelRef) -> Path:
    return locate_any(ref).path


def _open_lora(text: str, info: WeightsInfo, target: Path) -> LoraWeights:
    """Open a LoRA to bake in, after checking that it fits."""
    ref = parse_ref(text, scaled=True)
    file = open_any(_find(ref))
    lora = identify_file(file)
    fitting = MERGEABLE.get(info.kind, ())
    if lora.kind not in fitting:
        able = f"only a {' or '.join(fitting)} can" if fitting else f"nothing can be baked into a {info.kind}"
        raise UsageError(f"{file.path.name} is a {lora.kind}, and {able}: {target.name} is a {info.kind}")
    if not lora.fits_base(info):
        raise UsageError(
            f"{file.path.name} was made for {lora.base}, {target.name} is {info.base}",
            hint=f"choose a LoRA of {info.base}",
        )
    return open_lora(file, 1.0 if ref.scale is None else ref.scale)


def _name(source: Path, converted: ConvertedWeights, to: str) -> Path:
    stem = source.name if source.is_dir() else source.stem
    return source.with_name(f"{stem}-{to}{'' if converted.configs else '.safetensors'}")


def _is_folder(output: Path, converted: ConvertedWeights) -> bool:
    return bool(converted.configs) and output.suffix != ".safetensors"


def _check_output(output: Path, converted: ConvertedWeights, *, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists", hint="add `--overwrite`, or name another with `-o`")
    if len(converted.files) > 1 and output.suffix == ".safetensors":
        raise UsageError(f"a diffusers model is a folder, not a file such as {output}", hint="leave the suffix out")
    if not converted.configs and output.suffix != ".safetensors":
        raise UsageError(
            f"{output} must end in .safetensors, the one container written",
            hint=f"`-o {output.with_suffix('.safetensors')}`",
        )
    if output.is_dir() != _is_folder(output, converted) and output.exists():
        raise UsageError(f"{output} is in the way: a folder for a file, or the reverse", hint="name another with `-o`")
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent}", hint=f"`mkdir -p {output.parent}`")
    free, needed = shutil.disk_usage(output.parent).free, _bytes(converted) + SPARE_BYTES
    if free < needed:
        raise UsageError(
            f"{output.parent} has {free >> 20} MiB free, {needed >> 20} MiB are needed", hint="free some, or use `-o`"
        )


def _bytes(converted: ConvertedWeights) -> int:
    def size(tensor: LazyTensor) -> int:
        return tensor.numel * DTYPE_BYTES[tensor.dtype]

    return sum(size(tensor) for tensors in converted.files.values() for tensor in tensors.values())
