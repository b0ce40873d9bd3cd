"""Motion modules from files, and to files."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.files.untrusted import read_json
from animdiff_cli.motion.module import MotionModule, PositionalEncoding
from animdiff_cli.motion.spec import TRAITS, MotionSpec, MotionVersion
from animdiff_cli.weights import files
from animdiff_cli.weights.folders import weight_files
from animdiff_cli.weights.info import FRAMES_KEY, VERSION_KEY
from animdiff_cli.weights.lazy import Lazy, torch_dtype
from animdiff_cli.weights.materialise import materialise
from animdiff_cli.weights.motion import (
    MotionLayout,
    in_hotshot_names,
    is_position,
    missing_weights,
    read_layout,
    to_official,
)
from animdiff_cli.weights.positions import sinusoid

#: longer than any published module, shorter than what would fill the memory
MOST_FRAMES = 4096


def load_motion_module(
    path: str | Path,
    version: MotionVersion | None = None,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> MotionModule:
    """Load a motion module in official, diffusers or Hotshot-XL's layout, its version detected unless given.

    Weights are read once, straight onto `device` as `dtype`: the CPU and the file's own unless given. Raises `NotFound`
    if there is no file, `IntegrityError` if weights are missing, unknown or misshapen, `UsageError` if the file cannot
    tell its version.
    """
    path = Path(path)
    file = files.open_weights(weights_path(path))
    return _build(to_official(file.tensors), _read_spec(file, path, version), path.name, dtype, device)


def read_motion_spec(path: Path, version: MotionVersion | None = None) -> MotionSpec:
    """Read off a file's header, or a diffusers folder's, which module is in it; no weights are read.

    Raises as `load_motion_module`; `UsageError` too for a module that moves a given picture, which PIA's does.
    """
    return _read_spec(files.open_weights(weights_path(path)), path, version)


def weights_path(path: Path) -> Path:
    """Find the one weight file of a diffusers folder; a file is its own. `IntegrityError` for any other folder."""
    if not path.is_dir():
        return path
    found = weight_files(path)
    if len(found) != 1:
        raise IntegrityError(f"{path} is a folder with {len(found)} weight files", hint="name one of its files")
    return found[0]


def _build(
    official: Mapping[str, Lazy],
    spec: MotionSpec,
    source: str,
    dtype: torch.dtype | None,
    device: torch.device | None,
) -> MotionModule:
    """Build a module from official-layout weights. Position codes are recomputed, everything else must be there."""
    with torch.device("meta"):
        motion = MotionModule(spec)
    expected = motion.state_dict()
    _check_complete(official, expected, source)
    stored = {key: tensor for key, tensor in official.items() if not is_position(key)}
    dtype = dtype or torch_dtype(next(iter(stored.values())).dtype)
    motion.load_state_dict(materialise(stored, dtype, device), strict=False, assign=True)
    _fill_position_codes(motion, dtype, device)
    return motion.eval()


def save_motion_module(motion: MotionModule, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file in the official layout, its version in the metadata."""
    tensors = {key: tensor.detach().cpu() for key, tensor in motion.state_dict().items()}
    files.write_tensors(tensors, path, {VERSION_KEY: motion.spec.version} | dict(metadata or {}))


def detect_version(layout: MotionLayout, source: str = "motion module") -> MotionVersion:
    """Tell the versions apart by mid block, number of levels and position length, in that order."""
    if layout.mid:
        return "v2"
    if len(layout.block("down_blocks")) == 3:
        return "hotshot" if layout.max_frames == TRAITS["hotshot"].max_frames else "sdxl"
    if layout.max_frames is None:
        raise UsageError(
            f"{source} keeps no position code, so v1 and v3 cannot be told apart",
            hint="say which it is: `--set motion_version=v3`",
        )
    return "v1" if layout.max_frames == TRAITS["v1"].max_frames else "v3"


def describe(layout: MotionLayout, version: MotionVersion) -> MotionSpec:
    """Turn what the tensors tell into the layout to build."""
    return MotionSpec(
        version=version,
        down=layout.block("down_blocks"),
        mid=layout.mid,
        up=layout.block("up_blocks"),
        max_frames=layout.max_frames or TRAITS[version].max_frames,
    )


def _read_spec(file: files.WeightFile, path: Path, version: MotionVersion | None) -> MotionSpec:
    _refuse_picture(file, path.name)
    layout = read_layout(to_official(file.tensors))
    if layout.max_frames is None:
        layout = replace(layout, max_frames=_recorded_frames(file, path))
    recorded = file.metadata.get(VERSION_KEY)
    if version is None and recorded in get_args(MotionVersion):
        version = recorded  # type: ignore[assignment]
    elif version is None and in_hotshot_names(file.tensors):
        version = "hotshot"
    return describe(layout, version or detect_version(layout, path.name))


def _recorded_frames(file: files.WeightFile, path: Path) -> int | None:
    """Read the length of a position code that was left out: from the file's metadata, or its folder's config."""
    recorded = file.metadata.get(FRAMES_KEY, "")
    if recorded.isdecimal() and 0 < int(recorded) <= MOST_FRAMES:
        return int(recorded)
    config = path / "config.json"
    if not config.is_file():
        return None
    try:
        told = read_json(config).get("motion_max_seq_length")
    except (ValueError, AttributeError):
        return None
    return told if isinstance(told, int) and 0 < told <= MOST_FRAMES else None


def _refuse_picture(file: files.WeightFile, source: str) -> None:
    conv_in = file.tensors.get("conv_in.weight")
    is_training = any(".resnets." in key for key in file.tensors)
    if conv_in is not None and not is_training:
        raise UsageError(
            f"{source} is a PIA module: it moves a given picture ({conv_in.shape[1]} input channels), which this"
            " version cannot render",
            hint="use one that renders from a prompt: `--motion-module mm-v3`",
        )


def _check_complete(found: Mapping[str, Lazy], expected: Mapping[str, Tensor], source: str) -> None:
    if missing := missing_weights(expected, found):
        raise IntegrityError(
            f"{source} lacks {len(missing)} motion weights, first `{missing[0]}`",
            hint="get the file again, or convert it from its source anew",
        )
    if unknown := sorted(found.keys() - expected.keys()):
        raise IntegrityError(f"{source} holds {len(unknown)} weights of no known module, first `{unknown[0]}`")
    for key, tensor in found.items():
        if tensor.shape != expected[key].shape:
            have, want = tuple(tensor.shape), tuple(expected[key].shape)
            raise IntegrityError(f"{source}: `{key}` has shape {have}, a module of this width has {want}")


def _fill_position_codes(motion: MotionModule, dtype: torch.dtype, device: torch.device | None) -> None:
    for module in motion.modules():
        if isinstance(module, PositionalEncoding):
            _, max_frames, width = module.pe.shape
            module.pe = sinusoid(max_frames, width).to(device=device, dtype=dtype)
