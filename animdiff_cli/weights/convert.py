"""Convert a weight file: the layouts of each kind, and the function that converts it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from animdiff_cli.errors import UsageError
from animdiff_cli.weights.canonical import CanonicalWeights, ConvertedWeights
from animdiff_cli.weights.checkpoint import convert_checkpoint, convert_vae
from animdiff_cli.weights.controlnet import convert_controlnet
from animdiff_cli.weights.files import WeightFile, refuse_unusable
from animdiff_cli.weights.info import WeightsInfo
from animdiff_cli.weights.lazy import LazyTensor
from animdiff_cli.weights.lora import LoraWeights
from animdiff_cli.weights.lora_layouts import convert_lora
from animdiff_cli.weights.lora_merge import merge_loras
from animdiff_cli.weights.lora_names import Layout
from animdiff_cli.weights.motion_layouts import motion_to_diffusers, motion_to_original, read_motion, read_sparsectrl

Target = Literal["original", "diffusers", "kohya", "peft", "comfy"]
Convert = Callable[[WeightFile, WeightsInfo, Layout, Sequence[LoraWeights]], ConvertedWeights]

#: kind → supported layouts
LAYOUTS: Mapping[str, tuple[Layout, ...]] = {
    "motion-module": ("original", "diffusers"),
    "sparsectrl": ("original", "diffusers"),
    "controlnet": ("original", "diffusers"),
    "base": ("original", "diffusers"),
    "vae": ("original", "diffusers"),
    "motion-lora": ("original", "diffusers", "kohya", "peft"),
    "domain-adapter": ("original", "diffusers", "kohya", "peft"),
    "lora": ("kohya", "diffusers", "peft"),
}
#: kind → layout that ComfyUI and its AnimateDiff nodes read
COMFY: Mapping[str, Layout] = {
    "motion-module": "original",
    "sparsectrl": "original",
    "controlnet": "original",
    "base": "original",
    "vae": "original",
    "motion-lora": "original",
    "domain-adapter": "kohya",
    "lora": "kohya",
}
#: kind → kinds of LoRA that can be merged into it
MERGEABLE: Mapping[str, tuple[str, ...]] = {"base": ("lora", "domain-adapter"), "motion-module": ("motion-lora",)}


def choose_layout(info: WeightsInfo, target: Target | None, source: str) -> Layout:
    """Choose the layout to write; without `target`, the current one. Raises `UsageError` if it is not supported."""
    layouts = LAYOUTS.get(info.kind, ())
    if not layouts:
        raise UsageError(f"{source}: a {info.kind} has a single layout", hint="use the file without converting it")
    wanted = COMFY[info.kind] if target == "comfy" else target or _current(info, layouts)
    for layout in layouts:
        if wanted == layout:
            return layout
    what = "LoRA of an image model" if info.kind == "lora" else info.kind
    note = "; its trainers write the kohya layout" if info.kind == "lora" else ""
    raise UsageError(
        f"{source}: a {what} has no {wanted} layout{note}", hint=f"choose `--to {layouts[0]}` or `--to {layouts[1]}`"
    )


def convert_file(
    file: WeightFile, info: WeightsInfo, target: Layout, dtype: str | None = None, loras: Sequence[LoraWeights] = ()
) -> ConvertedWeights:
    """Convert an open file, casting to the safetensors dtype `dtype` if given. Tensors are read when they are written.

    Raises `IntegrityError` for keys that can be neither renamed nor dropped for a reason.
    """
    with refuse_unusable(file.path.name):
        converted = CONVERTERS[info.kind](file, info, target, loras)
    if dtype is None:
        return converted
    files = {name: {key: t.cast(dtype) for key, t in tensors.items()} for name, tensors in converted.files.items()}
    return replace(converted, files=files)


def _current(info: WeightsInfo, layouts: tuple[Layout, ...]) -> Layout:
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
    "controlnet": lambda file, info, target, loras: convert_controlnet(file, info, target),
    "base": convert_checkpoint,
    "vae": convert_vae,
    "motion-lora": _lora,
    "domain-adapter": _lora,
    "lora": _lora,
}
