"""Diffusers folders seen as one weight file: every tensor under the name of its part."""

import json
from pathlib import Path

from animdiff_cli.core.model_parts import NETWORKS
from animdiff_cli.errors import IntegrityError
from animdiff_cli.files.untrusted import read_json
from animdiff_cli.weights.files import WeightFile, open_weights
from animdiff_cli.weights.lazy import LazyTensor

ADAPTER_CONFIG = "adapter_config.json"
#: where diffusers keeps the settings of peft
PEFT_KEY = "lora_adapter_metadata"
_SUFFIXES = (".safetensors", ".bin")


def open_folder(folder: Path) -> WeightFile:
    """Open a model folder, its parts' names put in front (`unet.conv_in.weight`), or the folder of one part, as is.

    Raises `IntegrityError` if it holds no weights.
    """
    parts = {part: found for part in NETWORKS if (found := weight_files(folder / part))}
    if not parts:
        return _merged(folder, {"": weight_files(folder)})
    return _merged(folder, {f"{part}.": files for part, files in parts.items()})


def weight_files(folder: Path) -> list[Path]:
    """List the weight files of one part as they would be loaded: full precision first, safetensors first."""
    for variant in ("", ".fp16"):
        for suffix in _SUFFIXES:
            found = [path for path in sorted(folder.glob(f"*{variant}{suffix}")) if _is_meant(path, variant)]
            if found:
                return found
    return []


def _is_meant(path: Path, variant: str) -> bool:
    """Tell weights to load from those kept beside them, before averaging or in another precision."""
    return ".non_ema" not in path.name and (bool(variant) or ".fp16" not in path.name)


def _adapter_settings(folder: Path) -> dict[str, str]:
    """Read what peft keeps beside a LoRA's weights in the words that diffusers keeps inside them."""
    path = folder / ADAPTER_CONFIG
    if not path.is_file():
        return {}
    try:
        config = read_json(path)
    except ValueError as error:
        raise IntegrityError(f"{path} is not JSON: {error}", hint="get the LoRA again") from error
    if not isinstance(config, dict) or config.get("use_rslora"):
        raise IntegrityError(f"{path} asks for a scale by the root of the rank, which no other layout can tell")
    kept = {f"unet.{name}": config[name] for name in ("r", "lora_alpha", "alpha_pattern") if name in config}
    return {PEFT_KEY: json.dumps(kept)}


def _merged(folder: Path, files: dict[str, list[Path]]) -> WeightFile:
    tensors: dict[str, LazyTensor] = {}
    metadata = _adapter_settings(folder)
    for prefix, paths in files.items():
        for path in paths:
            opened = _open_part(path, prefix)
            tensors |= {prefix + key: tensor for key, tensor in opened.tensors.items()}
            metadata |= opened.metadata
    if not tensors:
        raise IntegrityError(f"{folder} holds no weight files", hint="give a weight file, or a diffusers folder")
    return WeightFile(folder, "diffusers folder", tensors, metadata)


def _open_part(path: Path, prefix: str) -> WeightFile:
    try:
        return open_weights(path)
    except IntegrityError as error:  # begins with the file's name, which is the same in several parts
        place = f"{prefix.removesuffix('.')}/" if prefix else ""
        raise IntegrityError(f"{place}{error}", hint=error.hint) from error
