"""The weight files of a render: located, and checked to fit together, before any of them is loaded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS, WeightSetting, refs_in
from animdiff_cli.core.choices import LoraAlphaMode, MotionVersion
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.diffusion.build import check_model, model_files, part_config
from animdiff_cli.diffusion.control import ControlFile, open_control
from animdiff_cli.diffusion.detectors import open_detector
from animdiff_cli.diffusion.image_prompt import (
    ImageEncoderFile,
    IpAdapterFile,
    encoder_beside,
    open_image_encoder,
    open_ip_adapter,
)
from animdiff_cli.diffusion.patches import ModelPatches, ScaledWeights, model_base, open_patches
from animdiff_cli.errors import UsageError
from animdiff_cli.files.hashing import sha256_of
from animdiff_cli.jobs.recipe import WeightHashes
from animdiff_cli.motion import MotionSpec, check_fit, read_motion_spec
from animdiff_cli.motion.lora import open_motion_lora
from animdiff_cli.motion.pia import open_pia_input
from animdiff_cli.registry.store import locate
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.folders import weight_files
from animdiff_cli.weights.kind_checks import open_kind
from animdiff_cli.weights.lazy import LazyTensor
from animdiff_cli.weights.lora import LoraWeights
from animdiff_cli.weights.lora_beside import ScheduledLora, split_scheduled


@dataclass(frozen=True, slots=True)
class Weights:
    """The files of a render and their scales. One field for each of `WEIGHT_SETTINGS`, by its key."""

    model: Path  # diffusers folder or single file
    motion_module: Path | None = None
    motion_modules: tuple[ScaledWeights, ...] = ()
    motion_version: MotionVersion | None = None
    motion_loras: tuple[ScaledWeights, ...] = ()
    loras: tuple[ScaledWeights, ...] = ()
    lora_alpha_mode: LoraAlphaMode = "alpha"
    domain_adapter: ScaledWeights | None = None
    vae: Path | None = None
    embeddings: tuple[Path, ...] = ()
    controls: tuple[Path, ...] = ()
    image_prompts: tuple[Path, ...] = ()
    image_encoder: Path | None = None
    preprocess_weights: tuple[Path, ...] = ()

    def files(self, key: str) -> list[Path]:
        """List the files or folders of one of `WEIGHT_SETTINGS`."""
        value = getattr(self, key)
        entries = value if isinstance(value, tuple) else (value,)
        return [entry.path if isinstance(entry, ScaledWeights) else entry for entry in entries if entry]

    def hashes(self, sha256: Callable[[Path], str] = sha256_of) -> WeightHashes:
        """Hash every weight file of the render with `sha256`, by setting."""
        found = {key: _hashes(self.files(key), sha256) for key in WEIGHT_SETTINGS}
        return {key: files for key, files in found.items() if files}


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


def find_weights(config: GenerateConfig) -> Weights:
    """Locate the files of a render on this machine. Raises `NotFound` for the first that is missing."""
    found = {key: _located(setting, getattr(config, key)) for key, setting in WEIGHT_SETTINGS.items()}
    if found["image_prompts"] and found["image_encoder"] is None:
        found["image_encoder"] = encoder_beside(found["image_prompts"][0])
    return Weights(**found, motion_version=config.motion_version, lora_alpha_mode=config.lora_alpha_mode)


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


def _located(setting: WeightSetting, value: Any) -> Any:
    """Locate what one setting names. Returns what the field of `Weights` holds."""
    texts = refs_in(setting, value) if setting.entry else value if setting.is_list else (value,)
    refs = [parse_ref(text, scaled=setting.is_scaled) for text in texts if text]
    found: list[Any] = [locate(ref, *setting.kinds).path for ref in refs]
    if setting.is_scaled:
        scales = (1.0 if ref.scale is None else ref.scale for ref in refs)
        found = [ScaledWeights(path, scale) for path, scale in zip(found, scales, strict=True)]
    return tuple(found) if setting.is_list else next(iter(found), None)


def _hashes(paths: list[Path], sha256: Callable[[Path], str]) -> Mapping[str, str]:
    """Hash files by name, files of a folder by their relative path. Equal names are numbered: `a.ckpt#2`."""
    found: dict[str, str] = {}
    for path in paths:
        files = used_files(path)
        root = path if path.is_dir() else path.parent
        for file in files:
            name = file.relative_to(root).as_posix()
            number = sum(known.partition("#")[0] == name for known in found)
            found[f"{name}#{number + 1}" if number else name] = sha256(file)
    return found


def used_files(path: Path) -> list[Path]:
    """List the files that are read of a weight file or model folder."""
    if not path.is_dir():
        return [path]
    return model_files(path) or weight_files(path)
