"""The result of a run as a file other programs read: official key layout, or diffusers' and peft's.

Official LoRA files know no alpha: what they add is scale · up · down. Alpha / rank is therefore multiplied into `up`,
which every layout and every reader understands.
"""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from animdiff_cli.core.choices import LoraFormat
from animdiff_cli.motion import MotionModule, save_motion_module
from animdiff_cli.training.lora_layers import LoraLayers
from animdiff_cli.weights.files import write_tensors
from animdiff_cli.weights.info import KIND_KEY, VERSION_KEY, WeightsKind
from animdiff_cli.weights.lora_names import LoraName, format_key


def save_low_rank(
    branches: LoraLayers,
    path: Path,
    *,
    kind: WeightsKind,
    version: str | None,
    layout: LoraFormat = "original",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write branches as a float16 safetensors file, whole or not at all. `version`: of the motion module."""
    tensors = low_rank_tensors(branches, layout)
    about = {KIND_KEY: kind, **({VERSION_KEY: version} if version else {}), "format": "pt"}
    write_tensors(tensors, path, {**about, **(metadata or {})})


def low_rank_tensors(branches: LoraLayers, layout: LoraFormat) -> dict[str, Tensor]:
    """Spell branches in a layout, float16 on the CPU."""
    tensors = {}
    for module, branch in branches.branches.items():
        for role, parameter in (("down", branch.down), ("up", branch.up * branches.scale)):
            key = format_key(LoraName("unet", module, role), layout)
            assert key is not None, f"{layout} has no word for {module}"
            tensors[key] = parameter.detach().to("cpu", torch.float16).contiguous()
    return tensors


def save_whole_motion_module(motion: MotionModule, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a motion module in float16 and the official layout; the module itself keeps its number format."""
    copy = MotionModule(motion.spec)
    # asked for its `state_dict`, a sharded module would give up the weights it has gathered
    tensors = chain(motion.named_parameters(), motion.named_buffers())
    copy.load_state_dict({key: tensor.detach().cpu() for key, tensor in tensors})
    save_motion_module(copy.half(), path, {KIND_KEY: "motion-module", "format": "pt", **metadata})
