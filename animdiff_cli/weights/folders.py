"""Open a diffusers folder as one weight file, with part names as prefixes."""

import json
from pathlib import Path

from animdiff_cli.core.model_parts import NETWORKS
from animdiff_cli.errors import IntegrityError, UsageError
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
    if adapters := _only_adapters(folder):
        if len(adapters) > 1:
            raise UsageError(
                f"{folder} holds {len(adapters)} adapters: {', '.join(path.name for path in adapters[:5])}",
                hint=f"name one of them: `{adapters[0]}`",
            )
        folder = adapters[0]
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


def _only_adapters(folder: Path) -> list[Path]:
    """List the peft adapters in subfolders named by adapter, of a folder without weights of its own."""
    if weight_files(folder):
        return []
    found = (path.parent for path in sorted(folder.glob(f"*/{ADAPTER_CONFIG}")))
    return [path for path in found if path.name not in NETWORKS]


def _adapter_settings(folder: Path, part: str) -> dict[str, object]:
    """Read peft's `adapter_config.json` as the settings that diffusers stores in a LoRA file."""
    path = folder / ADAPTER_CONFIG
    if not path.is_file():
        return {}
    try:
        config = read_json(path)
    except ValueError as error:
        raise IntegrityError(f"{path} is not JSON: {error}", hint="download the LoRA again") from error
    if not isinstance(config, dict):
        raise IntegrityError(f"{path} is not a peft config", hint="download the LoRA again")
    used = ("r", "lora_alpha", "alpha_pattern", "use_rslora")
    return {f"{part}.{name}": config[name] for name in used if name in config}


def _merged(folder: Path, files: dict[str, list[Path]]) -> WeightFile:
    tensors: dict[str, LazyTensor] = {}
    metadata: dict[str, str] = {}
    settings = _adapter_settings(folder, "unet")
    for prefix, _ in files.items():
        settings |= _adapter_settings(folder / prefix.removesuffix("."), prefix.removesuffix(".") or "unet")
    if settings:
        metadata[PEFT_KEY] = json.dumps(settings)
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


def model_files(model: Path) -> list[Path]:
    """List the weight files that a render reads of an image model."""
    return [path for part in NETWORKS for path in weight_files(model / part)] if model.is_dir() else [model]


def encoder_beside(adapter: Path) -> Path | None:
    """Return the folder with the image encoder in or beside an IP-Adapter; None if there is none."""
    folder = (adapter if adapter.is_dir() else adapter.parent) / "image_encoder"
    return folder if folder.is_dir() else None
