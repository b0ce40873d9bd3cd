"""Motion modules from files, and to files."""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.motion.module import MotionModule, PositionCode
from animdiff_cli.motion.spec import TRAITS, MotionSpec, MotionVersion
from animdiff_cli.weights import files
from animdiff_cli.weights.info import VERSION_KEY
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
    file = files.open_weights(path)
    recorded = file.metadata.get(VERSION_KEY)
    if version is None and recorded in get_args(MotionVersion):
        version = recorded  # type: ignore[assignment]
    elif version is None and in_hotshot_names(file.tensors):
        version = "hotshot"
    return build_motion_module(to_official(file.tensors), version, source=path.name, dtype=dtype, device=device)


def build_motion_module(
    official: Mapping[str, Lazy],
    version: MotionVersion | None = None,
    *,
    source: str = "motion module",
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> MotionModule:
    """Build a module from official-layout weights. Position codes are recomputed, everything else must be there."""
    layout = read_layout(official)
    spec = describe(layout, version or detect_version(layout, source))
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
        if isinstance(module, PositionCode):
            _, max_frames, width = module.pe.shape
            module.pe = sinusoid(max_frames, width).to(device=device, dtype=dtype)
