"""An image model from one file, as Civitai and A1111 have it: weights read from the file, all else shipped with us."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.errors import IntegrityError, NotFound, UsageError
from animdiff_cli.weights.checkpoint import read_checkpoint
from animdiff_cli.weights.checkpoint_folder import (
    PARTS,
    PARTS_OF,
    check_whole,
    layout_folder,
    part_config,
    part_tensors,
)
from animdiff_cli.weights.contents import Contents, Layouted
from animdiff_cli.weights.files import WeightFile, open_weights
from animdiff_cli.weights.folders import open_folder
from animdiff_cli.weights.given import require_kind
from animdiff_cli.weights.identify import describe

BASE = "sd15"


def check_checkpoint(path: Path) -> None:
    """Read the header, and no weights of a safetensors file.

    Raises `IntegrityError` if this is no image model or lacks weights, `UsageError` if it is one of another base.
    """
    _check(path, *_stamp(path))


def checkpoint_config(path: Path, part: str) -> dict[str, Any]:
    """Describe one part of a checkpoint as a folder's `config.json` would."""
    return part_config(part, read_model(path), BASE, path.name)


def read_model(path: Path) -> Contents:
    """Read a folder or single file under canonical names; the numbers are read later.

    A file is opened once between planning and loading: a pickle of the older kind is read whole to be looked at.
    """
    return read_checkpoint(open_folder(path) if path.is_dir() else _open(path, *_stamp(path)))


@lru_cache(maxsize=1)
def _open(path: Path, size: int, changed_ns: int) -> WeightFile:
    return open_weights(path)


@lru_cache(maxsize=1)
def _check(path: Path, size: int, changed_ns: int) -> None:
    file = _open(path, size, changed_ns)
    info = describe(file)
    require_kind(info, "base", path)
    if info.base != BASE:
        raise UsageError(
            f"{path.name} is an image model of {info.base}; this version renders Stable Diffusion 1.5",
            hint="use a Stable Diffusion 1.5 checkpoint",
        )
    contents = read_checkpoint(file)
    if missing := [part for part in PARTS_OF[BASE] if not part_tensors(contents, part)]:
        raise IntegrityError(f"{path.name} holds no {missing[0]}", hint="use a checkpoint with everything baked in")
    check_whole(contents, BASE, path.name)


def _stamp(path: Path) -> tuple[int, int]:
    """Tell whether a file is still the one that was opened: its size and the time of its last change."""
    if not path.is_file():
        raise NotFound(f"no weight file at {path}", hint=f"check the path: `ls {path.parent}`")
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def load_parts(path: Path, plan: DevicePlan) -> dict[str, Any]:
    """Load unet, vae, text_encoder and tokenizer of a single-file checkpoint onto the CPU, in the plan's dtype."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    model = layout_folder(read_model(path), BASE, path.name)
    _open.cache_clear()  # what is loaded need not be kept open
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(_config(model, "unet"))
        vae = AutoencoderKL.from_config(_config(model, "vae"))
    # on the CPU: it keeps a table of positions that no file holds
    text_encoder = CLIPTextModel(CLIPTextConfig(**_config(model, "text_encoder")))
    return {
        "unet": _fill(unet, model, "unet", plan, path),
        "vae": _fill(vae, model, "vae", plan, path),
        "text_encoder": _fill(text_encoder, model, "text_encoder", plan, path),
        "tokenizer": _tokenizer(model.configs),
        "scheduler": _read(model.configs, "scheduler/scheduler_config.json"),
    }


def _fill(module: nn.Module, model: Layouted, part: str, plan: DevicePlan, path: Path) -> nn.Module:
    tensors = model.files[f"{part}/{PARTS[part][0]}"]
    known = module.state_dict().keys()
    # transformers dropped the prefix in 5.6, files keep it
    bare = {key if key in known else key.removeprefix("text_model."): tensor for key, tensor in tensors.items()}
    try:
        weights = {key: tensor.read().to(plan.torch_dtype) for key, tensor in bare.items() if key in known}
        module.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise IntegrityError(f"{path.name}: its {part} does not load: {reason}", hint="get the model again") from error
    return module


def _tokenizer(configs: Mapping[str, bytes]) -> Any:
    from transformers import CLIPTokenizer

    with TemporaryDirectory() as folder:
        for name, text in configs.items():
            if name.startswith("tokenizer/"):
                (Path(folder) / Path(name).name).write_bytes(text)
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def _config(model: Layouted, part: str) -> dict[str, Any]:
    return _read(model.configs, f"{part}/config.json")


def _read(configs: Mapping[str, bytes], name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(configs[name])
    return config
