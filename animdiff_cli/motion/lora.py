"""MotionLoRA: low-rank changes of the temporal attentions that teach a motion module one movement.

Paper: AnimateDiff (ICLR 2024), section 4.3. Published files are rank 64, without alpha, and were trained on the v2
module, whose mid block they change too. Several combine linearly: W + the sum of scale * up @ down, in float32.
"""

from collections.abc import Sequence
from pathlib import Path

from animdiff_cli.core.choices import LoraAlphaMode
from animdiff_cli.core.text import counted
from animdiff_cli.errors import UsageError
from animdiff_cli.motion.module import MotionModule
from animdiff_cli.motion.spec import MotionSpec
from animdiff_cli.weights.kind_checks import open_kind
from animdiff_cli.weights.lora import LoraWeights, Shapes, check_lora, open_lora
from animdiff_cli.weights.lora_merge import merge_loras_in_place
from animdiff_cli.weights.motion import diffusers_name
from animdiff_cli.weights.on_meta import on_meta


def open_motion_lora(path: Path, spec: MotionSpec, *, alpha_mode: LoraAlphaMode = "alpha") -> LoraWeights:
    """Open a MotionLoRA in the official, diffusers, peft or kohya layout, at scale 1, and check it; reads no numbers.

    Raises `UsageError` if the file is of another kind, or changes a part the module does not have.
    """
    file, _ = open_kind(path, "motion-lora")
    lora = open_lora(file, alpha_mode=alpha_mode)
    checked = check_lora(lora, motion_shapes(spec), f"this {spec.version} motion module")
    if checked.missing:
        _refuse_missing(path, spec, checked.missing)
    return checked.lora


def merge_motion_loras(motion: MotionModule, loras: Sequence[LoraWeights]) -> None:
    """Add opened MotionLoRAs to the weights of a module, for good."""
    merge_loras_in_place({canonical_name(key): tensor for key, tensor in motion.named_parameters()}, loras)


def motion_shapes(spec: MotionSpec) -> Shapes:
    """List the weights of a module by canonical name, `unet.mid_block.motion_modules.0…attn1.to_q.weight`."""
    with on_meta():
        state = MotionModule(spec).state_dict()
    return {canonical_name(key): tuple(tensor.shape) for key, tensor in state.items()}


def canonical_name(official: str) -> str:
    """Name a weight of a motion module as LoRAs of any layout are read."""
    return f"unet.{diffusers_name(official)}"


def _refuse_missing(path: Path, spec: MotionSpec, missing: Sequence[str]) -> None:
    middle = [module for module in missing if ".mid_block." in module]
    if len(middle) == len(missing):
        raise UsageError(
            f"{path.name} was made for a v2 motion module: it changes the mid block, which this {spec.version}"
            " module does not have",
            hint="use it with a v2 module: `--motion-module mm-v2`",
        )
    raise UsageError(
        f"{path.name} changes {counted(len(missing), 'module')} that this {spec.version} motion module does not have,"
        f" first `{missing[0]}`",
        hint="`animdiff inspect` tells which motion module it was made for",
    )
