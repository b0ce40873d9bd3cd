"""The only code that opens weight files. Pickles are read as tensors and nothing else."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from animdiff_cli.errors import IntegrityError, NotFound

PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
#: names under which checkpoints wrap their weights, looked for in this order
WRAPPERS = ("state_dict", "controlnet", "model", "module")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read every tensor of a `.safetensors` or pickle file onto the CPU, unwrapped from `state_dict` and the like.

    Raises `NotFound` if there is no such file, `IntegrityError` if it is damaged, unsafe or holds no tensors.
    """
    if not path.is_file():
        raise NotFound(f"no weight file at {path}", hint=f"check the path: `ls {path.parent}`")
    if path.suffix.lower() in PICKLE_SUFFIXES:
        return _read_pickle(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise IntegrityError(
            f"{path.name} is not a whole safetensors file: {error}", hint="get the file again: it may be cut short"
        ) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Read a safetensors file's own metadata; other containers have none."""
    if path.suffix.lower() in PICKLE_SUFFIXES:
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise IntegrityError(f"{path.name} is not a whole safetensors file: {error}") from error


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file: beside its target first, then renamed, so that the target is always whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, partial, dict(metadata))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        raise IntegrityError(
            f"{path.name} holds more than tensors, and opening it could run code: refused",
            hint="ask its author for a .safetensors file",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise IntegrityError(
            f"{path.name} is not a readable torch file: {error}", hint="get the file again: it may be cut short"
        ) from error
    tensors = {key: value for key, value in _unwrap(loaded).items() if isinstance(value, Tensor)}
    if not tensors:
        raise IntegrityError(f"{path.name} holds no tensors", hint="this is not a weight file")
    return tensors


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _unwrap(loaded: object) -> dict[str, object]:
    while isinstance(loaded, dict):
        inner = next((loaded[name] for name in WRAPPERS if isinstance(loaded.get(name), dict)), None)
        if inner is None:
            return {str(key): value for key, value in loaded.items()}
        loaded = inner
    return {}
