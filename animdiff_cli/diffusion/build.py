"""Load the parts of an image model from a diffusers folder or a single file, and place them on the device."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from animdiff_cli.core.model_parts import NETWORKS, TOKENIZERS, parts_of, tokenizers_of
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.source import ModelSource, forget_model, open_model, read_config
from animdiff_cli.diffusion.text_encoders import check_tokenizer
from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.motion.unet import UNet
from animdiff_cli.weights.completeness import network_to_load
from animdiff_cli.weights.folders import weight_files
from animdiff_cli.weights.lora import LoraWeights
from animdiff_cli.weights.materialize import materialize


@dataclass(frozen=True, slots=True)
class Components:
    """An image model ready to render. Schedulers are created per render.

    SDXL has a second text encoder and tokenizer. `zeros_for_empty`: the unconditional prompt is zeros
    (`force_zeros_for_empty_prompt` in diffusers).
    """

    unet: UNet
    vae: Any
    text_encoder: Any
    tokenizer: Any
    prediction_type: str
    beta_schedule: str  # of the image model, for stills
    plan: DevicePlan
    text_encoder_2: Any = None
    tokenizer_2: Any = None
    zeros_for_empty: bool = False
    rescale_betas_zero_snr: bool = False

    @property
    def is_sdxl(self) -> bool:
        """Whether this is SDXL, with two text encoders and additional UNet inputs."""
        return self.text_encoder_2 is not None


#: of an inpainting UNet: latents, mask and masked latents
INPAINTING_CHANNELS = 9


def check_model_folder(folder: Path, *, needs_vae: bool = True) -> None:
    """Raise `IntegrityError` unless `folder` is a complete Stable Diffusion folder. Loads nothing."""
    base = "sdxl" if is_sdxl(folder) else "sd15"
    required = [part for part in parts_of(base) if needs_vae or part.name != "vae"]
    missing = [
        f"{part.name}/{part.markers[0]}"
        for part in required
        if not any((folder / part.name / marker).is_file() for marker in part.markers)
    ]
    networks = [part.name for part in required if part.weights_stem]
    missing += [f"{part}/*.safetensors" for part in networks if not missing and not weight_files(folder / part)]
    if missing:
        raise IntegrityError(
            f"{folder} is not a diffusers folder of Stable Diffusion: {', '.join(missing)} missing",
            hint=f"the folder holds model_index.json, {', '.join(f'{part.name}/' for part in required)}",
        )


def takes_mask(model: Path) -> bool:
    """Whether the UNet of an image model takes a mask and masked latents beside the latents. Reads no weights."""
    return int(part_config(model, "unet").get("in_channels", 4)) == INPAINTING_CHANNELS


def check_unet_config(config: Mapping[str, Any], folder: Path, *, inpainting: bool = False) -> None:
    """Raise `IntegrityError` for an incomplete UNet config, `UsageError` for a UNet with more input than latents.

    `inpainting` allows a mask and masked latents.
    """
    if missing := [key for key in ("block_out_channels", "layers_per_block") if key not in config]:
        raise IntegrityError(f"{folder}: the UNet's config lacks `{missing[0]}`", hint="get the model again")
    if config.get("in_channels", 4) not in (4, *([INPAINTING_CHANNELS] if inpainting else [])):
        raise UsageError(
            f"{folder} takes {config['in_channels']} input channels: an inpainting or depth model, not a"
            " text-to-image model",
            hint="use the text-to-image model it was made from",
        )


def check_model(model: Path, *, needs_vae: bool = True, inpainting: bool = False) -> None:
    """Check a diffusers folder or a single-file checkpoint without loading its weights.

    Raises `IntegrityError` if it is incomplete or no image model, `UsageError` if this version cannot render it.
    """
    if model.is_dir():
        check_model_folder(model, needs_vae=needs_vae)
        check_unet_config(part_config(model, "unet"), model, inpainting=inpainting)
        return
    source = open_model(model)
    source.check(needs_vae=needs_vae)
    check_unet_config(source.config("unet"), model, inpainting=inpainting)


def is_sdxl(model: Path) -> bool:
    """Whether a model has SDXL's second text encoder. Reads no weights."""
    if model.is_dir():
        return any((model / part.name).is_dir() for part in parts_of("sdxl") if "sd15" not in part.bases)
    return open_model(model).base == "sdxl"


def part_config(model: Path, part: str) -> dict[str, Any]:
    """Return the config of one part: its `config.json`, or a config inferred from the shapes in a single file."""
    return read_config(model / part / "config.json") if model.is_dir() else open_model(model).config(part)


def load_components(
    model: Path,
    plan: DevicePlan,
    apply_patches: Callable[[dict[str, Any]], None] | None = None,
    *,
    needs_vae: bool = True,
    loras: Sequence[LoraWeights] = (),
) -> Components:
    """Load a diffusers folder or a single-file checkpoint. Uses no network and executes no code from the files.

    `loras`, checked, are merged while the weights are read: in float32, rounded once. Weights are read directly onto
    the device, or onto the CPU if `apply_patches` changes them first. Without `needs_vae` the model's own VAE is not
    loaded and may be missing.
    """
    check_model(model, needs_vae=needs_vae, inpainting=True)
    source = open_model(model)
    if model.is_dir():  # `check_model` looked only at the names of its files
        source.check(needs_vae=needs_vae)
    if loras:
        source = source.merged(loras)
    where = plan.load_device if apply_patches is None else torch.device("cpu")
    with silence_libraries():
        parts = {part: load_part(source, part, plan, where) for part in source.parts if needs_vae or part != "vae"}
        parts |= dict(zip(tokenizers_of(source.base), source.tokenizers(), strict=True))
    if apply_patches is not None:
        apply_patches(parts)
    for part in NETWORKS:
        if part in parts:
            network = parts[part].to(plan.load_device).eval().requires_grad_(False)
            parts[part] = to_channels_last(network, plan.device)
    for encoder, tokenizer in TOKENIZERS.items():
        if encoder in parts:
            check_tokenizer(parts[tokenizer], parts[encoder])
    scheduler = source.scheduler()
    forget_model()
    return Components(
        **{"vae": None} | parts,
        **source.prediction(),
        beta_schedule=scheduler.get("beta_schedule", "scaled_linear"),
        plan=plan,
        zeros_for_empty=source.base == "sdxl" and bool(source.index().get("force_zeros_for_empty_prompt", True)),
    )


def load_part(source: ModelSource, part: str, plan: DevicePlan, device: torch.device) -> Any:
    """Build one network around its weights, read directly onto `device` in the dtype of `plan`."""
    config = source.config(part)
    network = network_to_load(part, config)
    known = network.state_dict().keys()
    # transformers dropped the prefix in 5.6; files have it
    tensors = {key if key in known else key.removeprefix("text_model."): t for key, t in source.tensors(part).items()}
    dtype = vae_dtype(config, plan, source.base) if part == "vae" else plan.torch_dtype
    weights = materialize(tensors, dtype, device)
    network.load_state_dict(weights, assign=True)
    network.weights_file = source.path.name  # named if its numbers are not finite
    for name, buffer in network.named_buffers():
        if buffer.is_meta:
            fill_position_ids(network, name, device)
    return network


def to_channels_last(module: Any, device: torch.device | None = None) -> Any:
    """Convert to channels-last for CUDA; `device` computes if the weights rest elsewhere.

    On CPUs that layout slows small models in bf16.
    """
    device = device or module.device
    return module.to(memory_format=torch.channels_last) if device.type == "cuda" else module


def vae_dtype(config: Mapping[str, Any], plan: DevicePlan, base: str) -> torch.dtype:
    """Return the VAE's dtype: float32 instead of fp16 for SDXL, whose VAE overflows unless `force_upcast` is false."""
    overflows = base == "sdxl" and config.get("force_upcast", True)
    return torch.float32 if overflows and plan.dtype == "fp16" else plan.torch_dtype


def fill_position_ids(network: Any, name: str, device: torch.device) -> None:
    """Fill CLIP's position ids, 0 to 76, the one buffer that files do not hold."""
    stem, _, last = name.rpartition(".")
    if last != "position_ids":
        raise RuntimeError(f"no file holds the buffer `{name}`")
    owner = network.get_submodule(stem)
    count = owner.position_ids.shape[-1]
    owner.position_ids = torch.arange(count, device=device).expand((1, -1))


@contextmanager
def silence_libraries() -> Iterator[None]:
    """Silence load reports and deprecation warnings of diffusers and transformers inside this context."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    levels = [(lib, lib.get_verbosity()) for lib in (diffusers_logging, transformers_logging)]
    bars = transformers_logging.is_progress_bar_enabled()
    try:
        for lib, _ in levels:
            lib.set_verbosity(logging.ERROR)
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for lib, level in levels:
            lib.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # transformers
