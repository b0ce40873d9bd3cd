"""Load motion modules from files and save them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from animdiff_cli.core.choices import MotionVersion
from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.motion.module import MotionModule, PositionalEncoding
from animdiff_cli.motion.spec import TRAITS, MotionSpec
from animdiff_cli.weights import files
from animdiff_cli.weights.folders import weight_files
from animdiff_cli.weights.identify import kind_of
from animdiff_cli.weights.info import VERSION_KEY
from animdiff_cli.weights.kind_checks import raise_wrong_kind
from animdiff_cli.weights.lazy import LazyTensor, is_float, torch_dtype
from animdiff_cli.weights.materialize import materialize
from animdiff_cli.weights.motion import (
    MotionLayout,
    is_position,
    missing_weights,
    read_layout,
    to_official,
)
from animdiff_cli.weights.motion_version import ARCHITECTURES, detect_family, motion_frames
from animdiff_cli.weights.on_meta import on_meta
from animdiff_cli.weights.positional_encoding import sinusoid


def load_motion_module(
    path: str | Path,
    version: MotionVersion | None = None,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    file: files.WeightFile | None = None,
) -> MotionModule:
    """Load a motion module in the official, diffusers or Hotshot-XL layout. `version` is detected by default.

    Weights are read directly to `device` as `dtype`; the defaults are the CPU and the dtype of the file. Raises
    `NotFound` if the file does not exist, `IntegrityError` for missing, unknown or wrongly shaped weights,
    `UsageError` if the version cannot be detected.
    `file` is `path` opened, if it is open already.
    """
    path = Path(path)
    file = file or files.open_weights(weights_path(path))
    with files.refuse_unusable(path.name):
        return build_motion_module(to_official(file.tensors), _read_spec(file, path, version), path.name, dtype, device)


def read_motion_spec(
    path: Path, version: MotionVersion | None = None, *, file: files.WeightFile | None = None
) -> MotionSpec:
    """Read the layout of the motion module in a file or diffusers folder, without reading weights.

    Raises the same errors as `load_motion_module`.
    """
    checked = weights_path(path)
    with files.refuse_unusable(path.name):
        return _read_spec(file or files.open_weights(checked), path, version)


def weights_path(path: Path) -> Path:
    """Return the only weight file of a diffusers folder, or `path` if it is a file.

    Raises `IntegrityError` if the folder does not have exactly one weight file.
    """
    if not path.is_dir():
        return path
    found = weight_files(path)
    if len(found) != 1:
        raise IntegrityError(f"{path} is a folder with {len(found)} weight files", hint="name one of the files")
    return found[0]


def build_motion_module(
    official: Mapping[str, LazyTensor],
    spec: MotionSpec,
    source: str,
    dtype: torch.dtype | None,
    device: torch.device | None,
) -> MotionModule:
    """Build a module from weights in the official layout. Positional encodings are computed, not read.

    Raises `IntegrityError` for missing, unknown or wrongly shaped weights; `source` is the name of their file.
    """
    with on_meta():
        motion = MotionModule(spec)
    expected = motion.state_dict()
    _check_complete(official, expected, source)
    stored = {key: tensor for key, tensor in official.items() if not is_position(key)}
    dtype = dtype or torch_dtype(next(iter(stored.values())).dtype)
    motion.load_state_dict(materialize(stored, dtype, device), strict=False, assign=True)
    _set_positional_encodings(motion, dtype, device)
    return motion.eval()


def save_motion_module(motion: MotionModule, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Save to a safetensors file in the official layout, with the version in its metadata."""
    tensors = {key: tensor.detach().cpu() for key, tensor in motion.state_dict().items()}
    files.write_tensors(tensors, path, {VERSION_KEY: motion.spec.version} | dict(metadata or {}))


def to_spec(layout: MotionLayout, version: MotionVersion) -> MotionSpec:
    """Combine the layout read from tensors with the version."""
    return MotionSpec(
        version=version,
        down=layout.block("down_blocks"),
        mid=layout.mid,
        up=layout.block("up_blocks"),
        max_frames=layout.max_frames or TRAITS[version].max_frames,
    )


def _read_spec(file: files.WeightFile, path: Path, version: MotionVersion | None) -> MotionSpec:
    if (kind := kind_of(file)) in ("motion-lora", "sparsectrl", "lora", "domain-adapter"):
        raise_wrong_kind(kind, "motion-module", path)
    max_frames = motion_frames(file, path)
    family = detect_family(file.tensors, file.metadata, max_frames)
    layout = replace(read_layout(to_official(file.tensors)), max_frames=max_frames)
    version = version or (ARCHITECTURES[family] if family else None)
    if version is None:
        raise UsageError(
            f"{path.name} has no positional encoding, so v1 and v3 cannot be told apart",
            hint="name the version: `--set motion_version=v3`",
        )
    return to_spec(layout, version)


def _check_complete(found: Mapping[str, LazyTensor], expected: Mapping[str, Tensor], source: str) -> None:
    if missing := missing_weights(expected, found):
        raise IntegrityError(
            f"{source} lacks {len(missing)} motion weights, first `{missing[0]}`",
            hint="download the file again, or convert it again from its source",
        )
    if unknown := sorted(found.keys() - expected.keys()):
        raise IntegrityError(f"{source} has {len(unknown)} unknown weights, first `{unknown[0]}`")
    for key, tensor in found.items():
        if tensor.shape != expected[key].shape:
            have, want = tuple(tensor.shape), tuple(expected[key].shape)
            raise IntegrityError(f"{source}: `{key}` has shape {have}, expected {want}")
        if not is_float(tensor.dtype):
            raise IntegrityError(f"{source}: `{key}` has the dtype {tensor.dtype}, not a floating-point one")


def _set_positional_encodings(motion: MotionModule, dtype: torch.dtype, device: torch.device | None) -> None:
    for module in motion.modules():
        if isinstance(module, PositionalEncoding):
            _, max_frames, width = module.pe.shape
            module.pe = sinusoid(max_frames, width).to(device=device, dtype=dtype)
