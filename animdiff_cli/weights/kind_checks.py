"""Open a weight file and check that it has the kind and base that its flag asks for."""

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from animdiff_cli.errors import UsageError
from animdiff_cli.registry.store import KIND_FLAGS, SOURCES
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.identify import identify_file, open_any
from animdiff_cli.weights.info import WeightsInfo, WeightsKind

IN_WORDS: Mapping[str, str] = {
    "base": "an image model",
    "unet": "a UNet alone",
    "motion-module": "a motion module",
    "motion-lora": "a MotionLoRA",
    "domain-adapter": "a domain adapter",
    "lora": "a LoRA",
    "vae": "a VAE",
    "text-encoder": "a text encoder alone",
    "embedding": "a textual inversion",
    "controlnet": "a ControlNet",
    "sparsectrl": "a SparseCtrl encoder",
    "ip-adapter": "an IP-Adapter",
    "image-encoder": "an image encoder",
    "clip-encoder": "a CLIP encoder",
    "preprocessor": "a network that makes control pictures",
}
#: (actual kind, expected kind) → hint; `{path}` is the file
REMEDIES: Mapping[tuple[WeightsKind, WeightsKind], str] = {
    ("lora", "base"): "a LoRA is added to an image model: `--model toonyou --lora {path}`",
    ("motion-lora", "motion-module"): "it is added to a module: `--motion-module mm-v2 --motion-lora {path}`",
    ("domain-adapter", "motion-module"): "it is used with a module: `--motion-module mm-v3 --domain-adapter {path}`",
    ("base", "vae"): "name the vae/ of a diffusers folder: `animdiff convert {path} --to diffusers` writes one",
    ("embedding", "lora"): "use it as `--embedding {path}`, and write its name into the prompt",
    ("unet", "base"): "name the folder or file of the whole model",
    ("text-encoder", "base"): "name the folder or file of the whole model",
}


def open_kind(
    path: Path,
    kind: WeightsKind,
    *,
    also: tuple[WeightsKind, ...] = (),
    base: str | None = None,
    model: Path | None = None,
) -> tuple[WeightFile, WeightsInfo]:
    """Open a file or diffusers folder as `kind`, or as one of the kinds in `also`; tensors are not read.

    With `base`, the base of the image model `model`, the file must have the same base or an unknown one. Raises
    `NotFound`, `UsageError` for another kind or base, `IntegrityError` for damaged or unknown files.
    """
    file = open_any(path)
    info = identify_file(file)
    if info.kind not in (kind, *also):
        raise_wrong_kind(info.kind, kind, path)
    if info.base and base and info.base != base:
        name = model.name if model else ""
        raise UsageError(
            f"{path.name} is {IN_WORDS[info.kind]} for {info.base}, and the image model {name} is {base}",
            hint=f"choose one made for {base}, or an image model of {info.base}",
        )
    return file, info


def raise_wrong_kind(found: WeightsKind, expected: WeightsKind, path: Path) -> NoReturn:
    """Raise `UsageError` for a file of another kind than expected, with its own flag as hint."""
    flag = KIND_FLAGS.get(found)
    given = "{path}" + SOURCES.get(flag or "", "")
    usage = f"use it as `{flag} {given}`" if flag else f"{IN_WORDS[found]} is not supported yet"
    hint = REMEDIES.get((found, expected), usage).replace("{path}", str(path))
    raise UsageError(f"{path.name} is {IN_WORDS[found]}, not {IN_WORDS[expected]}", hint=hint)
