"""The weights of a render: opened, and checked to fit together, before any of them is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from animdiff_cli.diffusion.build import check_model, part_config
from animdiff_cli.diffusion.control import ControlFile, open_control
from animdiff_cli.diffusion.detectors import open_detector
from animdiff_cli.diffusion.image_prompt import (
    ImageEncoderFile,
    IpAdapterFile,
    open_image_encoder,
    open_ip_adapter,
)
from animdiff_cli.diffusion.patches import ModelPatches, model_base, open_patches
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.weight_files import Weights
from animdiff_cli.motion import MotionSpec, check_fit, read_motion_spec
from animdiff_cli.motion.lora import open_motion_lora
from animdiff_cli.motion.pia import open_pia_input
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.kind_checks import open_kind
from animdiff_cli.weights.lazy import LazyTensor
from animdiff_cli.weights.lora import LoraWeights
from animdiff_cli.weights.lora_beside import ScheduledLora, split_scheduled


@dataclass(frozen=True, slots=True)
class CheckedWeights:
    """Weights that fit together, opened: what changes the image model, the motion module and its MotionLoRAs.

    The image model itself stays open in `diffusion.source` until it is loaded.
    """

    files: Weights
    patches: ModelPatches
    motion: WeightFile | None
    motion_spec: MotionSpec | None
    motion_loras: tuple[LoraWeights, ...]
    scheduled_motion_loras: tuple[ScheduledLora, ...] = ()
    mixed_motion: tuple[WeightFile, ...] = ()  # all of several motion modules
    controls: tuple[ControlFile, ...] = ()
    image_prompts: tuple[IpAdapterFile, ...] = ()
    image_encoder: ImageEncoderFile | None = None

    @property
    def pia(self) -> LazyTensor | None:
        """The input convolution of a PIA module, not read; None for other motion modules."""
        return _pia_input(self.files.model, self.motion, self.motion_spec) if self.motion and self.motion_spec else None


def check_weights(weights: Weights) -> CheckedWeights:
    """Open every file and check that it is complete, of its kind, and fits the others. Reads headers only.

    Raises `UsageError` for weights that do not fit together, `IntegrityError` for damaged files.
    """
    check_model(weights.model, needs_vae=weights.vae is None, inpainting=True)
    motion, spec = _open_motion(weights, weights.motion_module) if weights.motion_module else (None, None)
    if weights.motion_loras and motion is None:
        raise UsageError(
            "a MotionLoRA changes a motion module, and this render has none",
            hint="name one: `--motion-module mm-v2`, or leave `--motion-lora` out",
        )
    patches = open_patches(
        weights.model,
        vae=weights.vae,
        loras=weights.loras,
        domain_adapter=weights.domain_adapter,
        embeddings=weights.embeddings,
        alpha_mode=weights.lora_alpha_mode,
    )
    merged, scheduled = split_scheduled(
        (open_motion_lora(lora.path, spec, alpha_mode=weights.lora_alpha_mode), lora.scale)
        for lora in weights.motion_loras
        if spec
    )
    mixed = _open_mixed(weights, spec, scheduled) if spec else ()
    controls = tuple(open_control(path, weights.model) for path in weights.controls)
    adapters = tuple(open_ip_adapter(path, weights.model) for path in weights.image_prompts)
    encoder = open_image_encoder(weights.image_encoder, adapters)
    for path in weights.preprocess_weights:
        open_detector(path)
    return CheckedWeights(weights, patches, motion, spec, merged, scheduled, mixed, controls, adapters, encoder)


def _open_mixed(weights: Weights, spec: MotionSpec, scheduled: Sequence[ScheduledLora]) -> tuple[WeightFile, ...]:
    """Open several motion modules. Raises `UsageError` unless their layouts agree."""
    opened = [_open_motion(weights, module.path) for module in weights.motion_modules]
    for module, (_, other) in zip(weights.motion_modules, opened, strict=True):
        if other != spec:
            raise UsageError(
                f"{module.path.name} has another layout than the first motion module: {other.version} with"
                f" {other.max_frames} positions, the first is {spec.version} with {spec.max_frames}",
                hint="mix modules of one version, or use one",
            )
    if opened and scheduled:
        raise UsageError(
            f"{scheduled[0].lora.source} has a curve as its scale, and several motion modules take one number",
            hint="give the MotionLoRA one scale, or use one motion module",
        )
    return tuple(file for file, _ in opened)


def _open_motion(weights: Weights, path: Path) -> tuple[WeightFile, MotionSpec]:
    file, _ = open_kind(path, "motion-module", base=model_base(weights.model), model=weights.model)
    spec = read_motion_spec(path, weights.motion_version, file=file)
    check_fit(part_config(weights.model, "unet"), spec)
    _pia_input(weights.model, file, spec)
    return file, spec


def _pia_input(model: Path, file: WeightFile, spec: MotionSpec) -> LazyTensor | None:
    if spec.version != "pia":
        return None
    return open_pia_input(file, part_config(model, "unet")["block_out_channels"][0])
