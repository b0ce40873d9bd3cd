"""The context windows of a clip, and where they are applied."""

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.windows import Windows, plan_windows
from animdiff_cli.motion import MotionSpec


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


def resolve_windows(config: GenerateConfig, spec: MotionSpec | None) -> GenerateConfig:
    """Replace context settings that are null or `auto` by the chosen values, if the clip has windows."""
    windows = clip_windows(config, spec)
    if windows is None:
        return config
    return config.model_copy(
        update={
            "context_length": windows.length,
            "context_overlap": windows.overlap,
            "context_stride": windows.stride,
            "context_schedule": windows.schedule,
            "context_fuse": windows.fuse,
            "context_mode": "unet" if config.context_mode == "auto" else config.context_mode,
        }
    )
