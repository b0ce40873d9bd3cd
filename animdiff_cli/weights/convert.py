"""Which weights can be written in which layout, and by whom."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from animdiff_cli.errors import UsageError
from animdiff_cli.weights.canonical import CanonicalWeights, ConvertedWeights
from animdiff_cli.weights.checkpoint import convert_checkpoint, convert_vae
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.info import WeightsInfo
from animdiff_cli.weights.lazy import LazyTensor
from animdiff_cli.weights.lora import LoraWeights
from animdiff_cli.weights.lora_layouts import convert_lora
from animdiff_cli.weights.lora_merge import merge_loras
from animdiff_cli.weights.lora_names import Layout
from animdiff_cli.weights.motion_layouts import motion_to_diffusers, motion_to_original, read_motion, read_sparsectrl

Target = Literal["original", "diffusers", "kohya", "peft", "comfy"]
Convert = Callable[[WeightFile, WeightsInfo, Layout, Sequence[LoraWeights]], ConvertedWeights]

#: kind → layouts it can be written in
LAYOUTS: Mapping[str, tuple[Layout, ...]] = {
    "motion-module": ("original", "diffusers"),
    "sparsectrl": ("original", "diffusers"),
    "base": ("original", "diffusers"),
    "vae": ("original", "diffusers"),
    "motion-lora": ("original", "diffusers", "kohya", "peft"),
    "domain-adapter": ("original", "diffusers", "kohya", "peft"),
    "lora": ("kohya", "diffusers", "peft"),
}
#: what ComfyUI and its AnimateDiff nodes read
COMFY: Mapping[str, Layout] = {
    "motion-module": "original",
    "sparsectrl": "original",
    "base": "original",
    "vae": "original",
    "motion-lora": "original",
    "domain-adapter": "kohya",
    "lora": "kohya",
}
#: kinds a LoRA can be baked into, and the kinds that can
MERGEABLE: Mapping[str, tuple[str, ...]] = {"base": ("lora", "domain-adapter"), "motion-module": ("motion-lora",)}


def choose_layout(info: WeightsInfo, target: Target | None, source: str) -> Layout:
    """Settle the layout to write. None keeps the one there is. Raises `UsageError` if the kind has no such layout."""
    layouts = LAYOUTS.get(info.kind, ())
    if not layouts:
        raise UsageError(f"{source}: there is nothing to convert a {info.kind} to", hint="it is used as it is")
    wanted = COMFY[info.kind] if target == "comfy" else target or _own(info, layouts)
    for layout in layouts:
        if wanted == layout or (info.kind == "lora" and wanted == "original" and layout == "kohya"):
            return layout
    raise UsageError(
        f"{source}: a {info.kind} has no {wanted} layout", hint=f"choose `--to {layouts[0]}` or `--to {layouts[1]}`"
    )


def convert_file(
    file: WeightFile, info: WeightsInfo, target: Layout, dtype: str | None = None, loras: Sequence[LoraWeights] = ()
) -> ConvertedWeights:
    """Lay weights out anew, in number format `dtype` (safetensors' spelling) if given. Reads nothing large yet.

    Raises `IntegrityError` for a key that can be neither renamed nor dropped for a reason.
    """
    converted = CONVERTERS[info.kind](file, info, target, loras)
    if dtype is None:
        return converted
    files = {name: {key: t.cast(dtype) for key, t in tensors.items()} for name, tensors in converted.files.items()}
    return replace(converted, files=files)


def _own(info: WeightsInfo, layouts: tuple[Layout, ...]) -> Layout:
    return next((layout for layout in layouts if layout == info.format), layouts[0])


def _motion(file: WeightFile, info: WeightsInfo, target: Layout, loras: Sequence[LoraWeights]) -> ConvertedWeights:
    contents = read_motion(file, info)
    return _write_motion(replace(contents, tensors=_merged(contents, loras)), info, target)


def _merged(contents: CanonicalWeights, loras: Sequence[LoraWeights]) -> Mapping[str, LazyTensor]:
    return merge_loras(contents.tensors, loras) if loras else contents.tensors


def _sparsectrl(file: WeightFile, info: WeightsInfo, target: Layout, loras: Sequence[LoraWeights]) -> ConvertedWeights:
    return _write_motion(read_sparsectrl(file, info), info, target)


def _write_motion(contents: CanonicalWeights, info: WeightsInfo, target: Layout) -> ConvertedWeights:
    write = motion_to_original if target == "original" else motion_to_diffusers
    return replace(write(contents, info), dropped=contents.dropped)


def _lora(file: WeightFile, info: WeightsInfo, target: Layout, loras: Sequence[LoraWeights]) -> ConvertedWeights:
    return convert_lora(file, info, target)


CONVERTERS: Mapping[str, Convert] = {
    "motion-module": _motion,
    "sparsectrl": _sparsectrl,
    "base": convert_checkpoint,
    "vae": convert_vae,
    "motion-lora": _lora,
    "domain-adapter": _lora,
    "lora": _lora,
}
