"""A file given as what it is not: what it is, and the flag it belongs to."""

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from animdiff_cli.errors import UsageError
from animdiff_cli.registry.store import KIND_FLAGS
from animdiff_cli.weights.info import WeightsInfo, WeightsKind

IN_WORDS: Mapping[WeightsKind, str] = {
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
}
#: (what it is, what it was given as) and what to type; `{path}` is the file
REMEDIES: Mapping[tuple[WeightsKind, WeightsKind], str] = {
    ("lora", "base"): "a LoRA goes on top of an image model: `--model toonyou --lora {path}`",
    ("motion-lora", "motion-module"): "it goes on top of one: `--motion-module mm-v2 --motion-lora {path}`",
    ("domain-adapter", "motion-module"): "it goes beside one: `--motion-module mm-v3 --domain-adapter {path}`",
    ("base", "vae"): "name the vae/ of a diffusers folder; `animdiff convert {path} --to diffusers` makes one",
    ("embedding", "lora"): "use it as `--embedding {path}`, and write its name into the prompt",
    ("unet", "base"): "name the folder or file of the whole model",
    ("text-encoder", "base"): "name the folder or file of the whole model",
}


def require_kind(info: WeightsInfo, kind: WeightsKind, path: Path) -> None:
    """Raise `UsageError` unless a file is of the kind it was given as."""
    if info.kind != kind:
        raise_wrong_kind(info, kind, path)


def raise_wrong_kind(info: WeightsInfo, kind: WeightsKind, path: Path) -> NoReturn:
    """Raise `UsageError` that says what the file is and how it is used."""
    flag = KIND_FLAGS.get(info.kind)
    otherwise = f"use it as `{flag} {{path}}`" if flag else f"nothing here applies {IN_WORDS[info.kind]} yet"
    hint = REMEDIES.get((info.kind, kind), otherwise).format(path=path)
    raise UsageError(f"{path.name} is {IN_WORDS[info.kind]}, not {IN_WORDS[kind]}", hint=hint)


def require_base(info: WeightsInfo, base: str | None, path: Path, model: Path) -> None:
    """Raise `UsageError` if a file was made for another base than the image model is of; unknown bases pass."""
    if info.base and base and info.base != base:
        raise UsageError(
            f"{path.name} is {IN_WORDS[info.kind]} for {info.base}, and the image model {model.name} is {base}",
            hint=f"choose one that was made for {base}, or an image model of {info.base}",
        )
