"""Check a clip against its opened weights and the memory of the device, before weights load."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from animdiff_cli.config.layers import Resolved
from animdiff_cli.config.load import how_to_set
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.diffusion.build import is_sdxl, part_config
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.memory import require_memory
from animdiff_cli.diffusion.schedulers import check_prediction
from animdiff_cli.diffusion.source import open_model
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.control import check_controls
from animdiff_cli.jobs.image_method import check_image_method
from animdiff_cli.jobs.noise_checks import check_free_init
from animdiff_cli.jobs.source_video import check_mask
from animdiff_cli.jobs.weights import CheckedWeights
from animdiff_cli.outputs.spool import check_spool


def check_opened(
    config: GenerateConfig, weights: CheckedWeights, device: DevicePlan, resolved: Resolved[GenerateConfig]
) -> list[str]:
    """Check a clip against opened weights, and return notes. `resolved` knows how its inputs were given.

    Raises `UsageError`, and `DeviceError` for memory.
    """
    model, spec = weights.files.model, weights.motion_spec
    check_image_method(config, spec.version if spec else None)
    _check_prediction(config, model)
    _check_clip_skip(config.clip_skip, model)
    check_mask(config, model)
    check_free_init(config, model)
    check_memory(config, device, weights)
    how = partial(how_to_set, resolved)
    return check_controls(config, weights.controls, spec, weights.files.preprocess_weights, how)


def check_memory(config: GenerateConfig, plan: DevicePlan, weights: CheckedWeights | None = None) -> None:
    """Raise `DeviceError` if the clip does not fit into memory, `UsageError` if its frames do not fit on the disk."""
    vae: Mapping[str, Any] = {}
    if weights:
        vae = weights.patches.vae.config if weights.patches.vae else part_config(weights.files.model, "vae")
    vae_width = next(iter(vae.get("block_out_channels", ())), 0)
    require_memory(plan, config.width, config.height, config.num_frames, vae_width=vae_width)
    check_spool(config.num_frames, config.height, config.width)


def _check_prediction(config: GenerateConfig, model: Path) -> None:
    """Raise `UsageError` if the scheduler cannot sample what the image model predicts."""
    own = open_model(model).prediction()
    rescale = config.rescale_betas_zero_snr
    rescale = own["rescale_betas_zero_snr"] if rescale is None else rescale
    check_prediction(config.scheduler, config.prediction_type or own["prediction_type"], rescale)


def _check_clip_skip(clip_skip: int, model: Path) -> None:
    layers = part_config(model, "text_encoder").get("num_hidden_layers", 12)
    most = layers - (2 if is_sdxl(model) else 1)  # SDXL always skips the last layer
    if clip_skip > most:
        raise UsageError(
            f"cannot skip {clip_skip} of the {layers} layers of the text encoder of {model.name}",
            hint=f"`--clip-skip` is at most {most} for this model",
        )
