"""Load ControlNets and SparseCtrl encoders: any published file, without a network connection."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from animdiff_cli.diffusion.build import part_config, silence_libraries, to_channels_last
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.patches import model_base
from animdiff_cli.errors import UsageError
from animdiff_cli.motion import MotionSpec, plug
from animdiff_cli.motion.load import build_motion_module, to_spec
from animdiff_cli.weights import controlnet
from animdiff_cli.weights.completeness import network_to_load
from animdiff_cli.weights.files import WeightFile, refuse_unusable
from animdiff_cli.weights.kind_checks import open_kind
from animdiff_cli.weights.lazy import LazyTensor
from animdiff_cli.weights.materialize import materialize
from animdiff_cli.weights.motion import read_layout, to_official
from animdiff_cli.weights.motion_version import motion_frames

#: settings of the encoder that must be those of the image model: its residuals are added to the UNet's features
_SHARED = ("block_out_channels", "layers_per_block", "cross_attention_dim")


@dataclass(frozen=True, slots=True)
class ControlFile:
    """A ControlNet or SparseCtrl that was opened and checked. Tensors are not read yet."""

    path: Path
    kind: Literal["controlnet", "sparsectrl"]
    config: Mapping[str, Any]  # of diffusers' `ControlNetModel`
    tensors: Mapping[str, LazyTensor]  # of the encoder, under diffusers' names
    motion: Mapping[str, LazyTensor]  # official names; empty for a ControlNet
    spec: MotionSpec | None = None
    base: str | None = None  # as the file records it

    @property
    def takes_latents(self) -> bool:
        """Whether this is SparseCtrl rgb, which sees pictures through the VAE."""
        return bool(self.config.get("simplified"))


def open_control(path: Path, model: Path) -> ControlFile:
    """Open a file or diffusers folder and check it against the image model. Reads headers only.

    Raises `UsageError` for another kind or one that does not fit, `IntegrityError` for a damaged one.
    """
    file, info = open_kind(path, "controlnet", also=("sparsectrl",), base=model_base(model), model=model)
    with refuse_unusable(path.name):
        opened = _sparse(file, path) if info.kind == "sparsectrl" else _plain(file, path)
    _check_fit(opened, model)
    return replace(opened, base=info.base)


def load_control(opened: ControlFile, plan: DevicePlan) -> Any:
    """Load the network onto the device, with its motion module plugged in if it is a SparseCtrl."""
    with silence_libraries():
        network = network_to_load(opened.kind, opened.config)
    network.load_state_dict(materialize(opened.tensors, plan.torch_dtype, plan.load_device), assign=True)
    network = to_channels_last(network.eval().requires_grad_(False), plan.device)
    if opened.spec:
        motion = build_motion_module(opened.motion, opened.spec, opened.path.name, plan.torch_dtype, plan.load_device)
        plug(network, motion)
    return network


def _plain(file: WeightFile, path: Path) -> ControlFile:
    contents = controlnet.read_controlnet(file)
    config = controlnet.recorded_config(file) or controlnet.controlnet_config(contents.tensors, path.name)
    controlnet.check_controlnet(contents, config, path.name)
    return ControlFile(path, "controlnet", config, contents.tensors, {})


def _sparse(file: WeightFile, path: Path) -> ControlFile:
    official = to_official(file.tensors)
    layout = replace(read_layout(official), max_frames=motion_frames(file, path))
    spec = replace(to_spec(layout, "v3"), num_attentions=1)
    tensors, config = controlnet.read_sparse_encoder(file)
    return ControlFile(path, "sparsectrl", config, tensors, official, spec)


def _check_fit(opened: ControlFile, model: Path) -> None:
    """Raise `UsageError` unless the encoder has the layout of the image model's."""
    unet = part_config(model, "unet")
    for key in _SHARED:
        have, want = opened.config.get(key), unet.get(key)
        if want is not None and have is not None and _listed(have) != _listed(want):
            raise UsageError(
                f"{opened.path.name} does not fit the image model {model.name}: its `{key}` is {have}, the model's"
                f" {want}",
                hint="use a control that was made for this image model or its base",
            )


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
