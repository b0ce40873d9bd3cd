"""The context windows of a clip, and where they are applied."""

from collections.abc import Mapping
from typing import Any

import torch

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.windows import Windows, plan_windows
from animdiff_cli.diffusion.memory import activation_bytes, free_memory
from animdiff_cli.motion import MotionSpec, plugged
from animdiff_cli.motion.unet import UNet


def clip_windows(config: GenerateConfig, spec: MotionSpec | None) -> Windows | None:
    """Return the windows of a clip; None if it is one window, or without a motion module.

    Raises `UsageError` for settings that contradict each other or the motion module.
    """
    if spec is None:
        return None
    return plan_windows(
        config.num_frames,
        max_frames=spec.max_frames,
        usual_length=spec.window_length,
        length=config.context_length,
        overlap=config.context_overlap,
        stride=config.context_stride,
        schedule=config.context_schedule,
        fuse=config.context_fuse,
        loop=config.loop,
    )


def resolve_windows(config: GenerateConfig, unet: UNet, *, to_load: int = 0) -> GenerateConfig:
    """Replace context settings that are null or `auto` by the chosen values, if the clip has windows.

    `to_load` are the bytes of weights that are not on the device yet.
    """
    attached = plugged(unet)
    windows = clip_windows(config, attached.motion.spec if attached else None)
    return with_windows(config, windows, unet.config, unet.dtype, unet.device, to_load=to_load)


def with_windows(
    config: GenerateConfig,
    windows: Windows | None,
    unet_config: Mapping[str, Any],
    dtype: torch.dtype,
    device: torch.device,
    *,
    to_load: int = 0,
) -> GenerateConfig:
    """Replace context settings that are null or `auto` by those of `windows`.

    `auto` becomes `plug` if the activations of all frames fit into the memory that is free now, less the bytes
    `to_load` of weights that are not there yet.
    """
    if windows is None:
        return config
    mode = config.context_mode
    if mode == "auto":
        rows = 2 if config.has_guidance else 1
        size = (config.height // 8, config.width // 8)
        images, window = rows * config.num_frames, rows * windows.length
        needed = to_load + activation_bytes(unet_config, size, dtype, images=images, window=window)
        free = free_memory(device)
        mode = "plug" if free is not None and needed <= free else "unet"
    return config.model_copy(
        update={
            "context_length": config.context_length or windows.length,
            "context_overlap": windows.overlap,
            "context_stride": windows.stride,
            "context_schedule": windows.schedule,
            "context_fuse": windows.fuse,
            "context_mode": mode,
        }
    )
