"""Open a diffusers folder as one weight file, with part names as prefixes."""

import json
from pathlib import Path

from animdiff_cli.core.model_parts import NETWORKS
from animdiff_cli.errors import IntegrityError
from animdiff_cli.files.untrusted import read_json
from animdiff_cli.weights.files import WeightFile, open_weights
from animdiff_cli.weights.lazy import LazyTensor

ADAPTER_CONFIG = "adapter_config.json"
#: metadata key under which diffusers stores a peft `LoraConfig`
PEFT_KEY = "lora_adapter_metadata"
_SUFFIXES = (".safetensors", ".bin")


def open_folder(folder: Path) -> WeightFile:
    """Open a model folder, prefixing keys with part names (`unet.conv_in.weight`), or the folder of a single part.

    Raises `IntegrityError` if the folder has no weights.
    """
    parts = {part: found for part in NETWORKS if (found := weight_files(folder / part))}
    if not parts:
        return _merged(folder, {"": weight_files(folder)})
    return _merged(folder, {f"{part}.": files for part, files in parts.items()})


def weight_files(folder: Path) -> list[Path]:
    """List the weight files of one part: full precision before fp16, safetensors before pickles."""
    for variant in ("", ".fp16"):
        for suffix in _SUFFIXES:
            found = [path for path in sorted(folder.glob(f"*{variant}{suffix}")) if _is_loadable(path, variant)]
            if found:
                return found
    return []


def _is_loadable(path: Path, variant: str) -> bool:
    """Return whether a file has the averaged weights in the wanted precision."""
    return ".non_ema" not in path.name and (bool(variant) or ".fp16" not in path.name)


def _adapter_settings(folder: Path) -> dict[str, str]:
    """Read peft's `adapter_config.json` as the metadata that diffusers stores in a LoRA file."""
    path = folder / ADAPTER_CONFIG
    if not path.is_file():
        return {}
    try:
        config = read_json(path)
    except ValueError as error:
        raise IntegrityError(f"{path} is not JSON: {error}", hint="download the LoRA again") from error
    if not isinstance(config, dict) or config.get("use_rslora"):
        raise IntegrityError(f"{path} sets `use_rslora`, which is not supported")
    settings = {f"unet.{name}": config[name] for name in ("r", "lora_alpha", "alpha_pattern") if name in config}
    return {PEFT_KEY: json.dumps(settings)}


def _merged(folder: Path, files: dict[str, list[Path]]) -> WeightFile:
    tensors: dict[str, LazyTensor] = {}
    metadata = _adapter_settings(folder)
    for prefix, paths in files.items():
        for path in paths:
            opened = _open_part(path, prefix)
            tensors |= {prefix + key: tensor for key, tensor in opened.tensors.items()}
            metadata |= opened.metadata
    if not tensors:
        raise IntegrityError(f"{folder} has no weight files", hint="name a weight file or a diffusers folder")
    return WeightFile(folder, "diffusers folder", tensors, metadata)


def _open_part(path: Path, prefix: str) -> WeightFile:
    try:
        return open_weights(path)
    except IntegrityError as error:  # the message starts with the file name, which is the same in several parts
        folder = f"{prefix.removesuffix('.')}/" if prefix else ""
        raise IntegrityError(f"{folder}{error}", hint=error.hint) from error
