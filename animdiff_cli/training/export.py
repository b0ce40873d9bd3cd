"""Write the result of a run in a layout that other programs read: official, diffusers or peft.

Official LoRA files have no alpha: they add scale · up · down. Alpha / rank is therefore multiplied into `up`, which
every layout and every reader understands.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from animdiff_cli.core.choices import LoraFormat
from animdiff_cli.motion import MotionModule, MotionSpec, save_motion_module
from animdiff_cli.training.lora_layers import LoraLayers
from animdiff_cli.weights.files import write_tensors
from animdiff_cli.weights.info import KIND_KEY, VERSION_KEY, WeightsKind
from animdiff_cli.weights.lora_names import LoraName, format_key


def export_lora(
    lora: LoraLayers,
    path: Path,
    *,
    kind: WeightsKind,
    version: str | None,
    layout: LoraFormat = "original",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write LoRA layers to a float16 safetensors file, atomically. `version`: of the motion module."""
    header = {KIND_KEY: kind, **({VERSION_KEY: version} if version else {}), "format": "pt"}
    write_tensors(lora_state_dict(lora, layout), path, {**header, **(metadata or {})})


def lora_state_dict(lora: LoraLayers, layout: LoraFormat) -> dict[str, Tensor]:
    """Return the tensors of LoRA layers with the keys of a layout, float16 on the CPU."""
    tensors = {}
    for module, layer in lora.layers.items():
        for role, parameter in (("down", layer.down), ("up", layer.up * lora.scale)):
            key = format_key(LoraName("unet", module, role), layout)
            assert key is not None, f"{layout} has no key for {module}"
            tensors[key] = parameter.detach().to("cpu", torch.float16).contiguous()
    return tensors


def export_motion_module(motion: MotionModule, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a motion module in float16 and the official layout; the module itself keeps its dtype."""
    copy = MotionModule(motion.spec)
    # `state_dict` of a sharded module would reshard its gathered weights
    tensors = chain(motion.named_parameters(), motion.named_buffers())
    copy.load_state_dict({key: tensor.detach().cpu() for key, tensor in tensors})
    save_motion_module(copy.half(), path, {KIND_KEY: "motion-module", "format": "pt", **metadata})


@dataclass(frozen=True, slots=True)
class MotionNetwork:
    """The network that stage 2 trains: `create` an untrained one, `save` a trained one with metadata.

    It is the paper's motion module, or another network to compare with it. A run resumes only with a network of the
    same name.
    """

    name: str
    create: Callable[[MotionSpec], MotionModule]
    save: Callable[[MotionModule, Path, Mapping[str, str]], None]


MOTION_MODULE = MotionNetwork("temporal transformer", MotionModule, export_motion_module)
