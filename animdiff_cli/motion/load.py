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
from animdiff_cli.weights.motion import MotionLayout, is_position, missing_weights, read_layout, to_official
from animdiff_cli.weights.positions import sinusoid


def load_motion_module(path: str | Path, version: MotionVersion | None = None) -> MotionModule:
    """Load a motion module in official or diffusers layout, its version detected unless given.

    Raises `NotFound` if there is no file, `IntegrityError` if weights are missing, unknown or misshapen, `UsageError`
    if the file cannot tell its version.
    """
    path = Path(path)
    tensors = to_official(files.read_tensors(path))
    recorded = files.read_metadata(path).get(VERSION_KEY)
    if version is None and recorded in get_args(MotionVersion):
        version = recorded  # type: ignore[assignment]
    return build_motion_module(tensors, version, source=path.name)


def build_motion_module(
    official: Mapping[str, Tensor], version: MotionVersion | None = None, *, source: str = "motion module"
) -> MotionModule:
    """Build a module from official-layout tensors. Position codes are recomputed, everything else must be there."""
    layout = read_layout(official)
    spec = describe(layout, version or detect_version(layout, source))
    with torch.device("meta"):
        motion = MotionModule(spec)
    expected = motion.state_dict()
    _check_complete(official, expected, source)
    weights = {key: tensor for key, tensor in official.items() if not is_position(key)}
    motion.load_state_dict(weights, strict=False, assign=True)
    _fill_position_codes(motion, dtype=next(iter(weights.values())).dtype)
    return motion.eval()


def save_motion_module(motion: MotionModule, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file in the official layout, its version in the metadata."""
    tensors = {key: tensor.detach().cpu() for key, tensor in motion.state_dict().items()}
    files.write_tensors(tensors, path, {VERSION_KEY: motion.spec.version} | dict(metadata or {}))


def detect_version(layout: MotionLayout, source: str = "motion module") -> MotionVersion:
    """Tell v1, v2, v3 and SDXL apart by mid block, number of levels and position length, in that order."""
    if layout.mid:
        return "v2"
    if len(layout.block("down_blocks")) == 3:
        return "sdxl"
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


def _check_complete(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> None:
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


def _fill_position_codes(motion: MotionModule, dtype: torch.dtype) -> None:
    for module in motion.modules():
        if isinstance(module, PositionCode):
            _, max_frames, width = module.pe.shape
            module.pe = sinusoid(max_frames, width).to(dtype)
