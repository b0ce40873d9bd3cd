"""Choose how a render fits into the memory of its device, before anything is loaded."""

from dataclasses import replace

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.memory_levels import choose_level
from animdiff_cli.diffusion.device import DevicePlan, with_weights_dtype
from animdiff_cli.diffusion.memory import free_memory
from animdiff_cli.jobs.cost import count_need
from animdiff_cli.jobs.weights import CheckedWeights


def with_memory_level(plan: DevicePlan, config: GenerateConfig, weights: CheckedWeights) -> DevicePlan:
    """Add the memory level for a clip to a plan, by the memory that is free now. On a CPU there is one level.

    Raises `DeviceError` if the device cannot store weights as the config says.
    """
    plan = with_weights_dtype(plan, config.weights_dtype)
    if plan.kind == "cpu":
        return plan
    level = choose_level(
        config.low_vram, count_need(config, weights, plan), free_memory(plan.device), can_group=can_group(weights)
    )
    return replace(plan, level=level, steps_down=config.low_vram != "off")


def unused_memory_settings(plan: DevicePlan, config: GenerateConfig) -> tuple[str, ...]:
    """Return a note on settings that have no effect on a CPU."""
    if plan.kind == "cpu" and config.low_vram not in ("auto", "off"):
        return (f"`low_vram: {config.low_vram}` has no effect on a CPU: all weights are in main memory anyway",)
    return ()


def can_group(weights: CheckedWeights) -> bool:
    """Whether feed-forward layers may compute a few frames at a time: not if a LoRA changes each frame by itself."""
    return not (weights.patches.scheduled or weights.scheduled_motion_loras)
