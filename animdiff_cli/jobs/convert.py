"""Plan and run the conversion of a weight file. The Python API of `animdiff convert`."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

from animdiff_cli import paths
from animdiff_cli.core.refs import ModelRef, constant_scale, parse_ref
from animdiff_cli.errors import UsageError
from animdiff_cli.files.atomic import atomic_write
from animdiff_cli.files.os_errors import check_output_path, readable_output_failures
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

#: file name that diffusers loads from the folder of a single model
MODEL_FILE = "diffusion_pytorch_model.safetensors"
#: disk space for configs and headers, beyond the tensors
SPARE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class ConvertPlan:
    """A checked conversion: every key is mapped, added or dropped. No tensor has been read."""

    source: Path
    info: WeightsInfo
    target: Layout
    converted: ConvertedWeights
    output: Path

    def totals(self) -> dict[str, Any]:
        """Return the counts of tensors, with the reasons for those dropped or added."""
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
    """The result of a conversion."""

    path: Path
    totals: Mapping[str, Any]
    not_finite: tuple[str, ...]  # tensors with NaN or infinite values


def convert(
    source: str | PathLike[str],
    to: Target | None = None,
    *,
    dtype: Literal["fp16", "bf16", "fp32"] | None = None,
    output: str | PathLike[str] | None = None,
    merge_loras: Sequence[str | PathLike[str]] = (),
    overwrite: bool = False,
) -> ConvertResult:
    """Convert a weight file or diffusers folder to another layout or dtype.

    Args:
        source: Weights to convert: a path, an alias or another reference.
        to: `original`, `diffusers`, `kohya`, `peft` or `comfy`. None keeps the layout; `original` LoRAs become `kohya`.
        dtype: Dtype to write; None keeps the dtype.
        output: File or folder to write. None: beside a source file given by its path, else in the current folder.
        merge_loras: LoRAs to merge into the weights; text may end in `@scale`.
        overwrite: Replace an existing output.

    Returns:
        `path` of the output, `totals` of tensors by what happened to them, and `not_finite`, the names of tensors with
        NaN or infinite values.

    Raises:
        AnimdiffError: `NotFound` for missing files, `IntegrityError` for unknown weights, `UsageError` for an
            unsupported layout or an existing output.

    """
    plan = plan_conversion(
        fspath(source),
        to,
        dtype=dtype,
        output=Path(output) if output is not None else None,
        merge_loras=[fspath(lora) for lora in merge_loras],
        overwrite=overwrite,
    )
    return convert_weights(plan)


def plan_conversion(
    source: str,
    to: Target | None = None,
    *,
    dtype: str | None = None,
    output: Path | None = None,
    merge_loras: Sequence[str] = (),
    overwrite: bool = False,
) -> ConvertPlan:
    """Plan a conversion without writing anything. `source` and `merge_loras` are references; LoRAs accept `@scale`.

    Raises `NotFound` for missing files, `IntegrityError` for unknown weights, `UsageError` for an unsupported layout
    or an existing output.
    """
    path = _find(parse_ref(source))
    file = open_any(path)
    info = identify_file(file)
    target = choose_layout(info, to, path.name)
    loras = [_open_lora(text, info, path) for text in merge_loras]
    converted = convert_file(file, info, target, FLOATS[dtype] if dtype else None, loras)
    chosen = paths.expanded_output(output) if output else _default_output(path, source, converted, to or target)
    _check_output(chosen, converted, overwrite=overwrite)
    return ConvertPlan(path, info, target, converted, chosen)


def convert_weights(plan: ConvertPlan) -> ConvertResult:
    """Run a planned conversion. The output is written atomically, a few rows at a time."""
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
    """Open a LoRA to merge, and check its kind and base."""
    ref = parse_ref(text, scaled=True)
    file = open_any(_find(ref))
    lora = identify_file(file)
    kinds = MERGEABLE.get(info.kind, ())
    if lora.kind not in kinds:
        mergeable = f"accepts a {' or '.join(kinds)}" if kinds else "accepts no LoRA"
        raise UsageError(f"cannot merge {file.path.name}, a {lora.kind}: {target.name}, a {info.kind}, {mergeable}")
    if not lora.fits_base(info):
        raise UsageError(
            f"{file.path.name} was made for {lora.base}, {target.name} is {info.base}",
            hint=f"use a LoRA for {info.base}",
        )
    return open_lora(file, constant_scale(ref, "merging"))


def _default_output(path: Path, source: str, converted: ConvertedWeights, to: str) -> Path:
    """Name the output: beside a file given by its path, else in the current folder.

    Nothing is written to model folders of other programs, the Hub cache or the installed package.
    """
    stem = path.name if path.is_dir() else path.stem
    name = f"{stem}-{to}{'' if converted.configs else '.safetensors'}"
    others = [paths.PACKAGE, paths.hub_cache_dir(), *paths.extra_models_dirs()]
    is_other = any(path.resolve().is_relative_to(folder.resolve()) for folder in others)
    return Path(name) if is_other or parse_ref(source).source != "path" else path.with_name(name)


def _is_folder(output: Path, converted: ConvertedWeights) -> bool:
    return bool(converted.configs) and output.suffix != ".safetensors"


def _check_output(output: Path, converted: ConvertedWeights, *, overwrite: bool) -> None:
    check_output_path(output, "-o")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists", hint="use `--overwrite`, or another path with `-o`")
    if len(converted.files) > 1 and output.suffix == ".safetensors":
        raise UsageError(f"a diffusers model is a folder, not a file such as {output}", hint="omit the suffix")
    if not converted.configs and output.suffix != ".safetensors":
        raise UsageError(
            f"{output} must end in .safetensors",
            hint=f"`-o {output.with_suffix('.safetensors')}`",
        )
    if output.is_dir() != _is_folder(output, converted) and output.exists():
        raise UsageError(
            f"{output} exists as a {'folder' if output.is_dir() else 'file'}", hint="use another path with `-o`"
        )
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent}", hint=f"`mkdir -p {output.parent}`")
    free, needed = shutil.disk_usage(output.parent).free, _bytes(converted) + SPARE_BYTES
    if free < needed:
        raise UsageError(
            f"not enough disk space in {output.parent}: {free >> 20} MiB free, {needed >> 20} MiB needed",
            hint="use another folder with `-o`",
        )


def _bytes(converted: ConvertedWeights) -> int:
    def size(tensor: LazyTensor) -> int:
        return tensor.numel * DTYPE_BYTES[tensor.dtype]

    return sum(size(tensor) for tensors in converted.files.values() for tensor in tensors.values())
