"""The parts of an image model, from a diffusers folder or a single file, placed on the device."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.single_file import check_checkpoint, checkpoint_config, load_parts
from animdiff_cli.diffusion.text import check_tokenizer
from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.weights.folders import weight_files

#: parts a Stable Diffusion folder must have, and the files of which one proves each is there
REQUIRED = {
    "unet": ("config.json",),
    "vae": ("config.json",),
    "text_encoder": ("config.json",),
    "tokenizer": ("tokenizer.json", "vocab.json"),
    "scheduler": ("scheduler_config.json",),
}
WEIGHTED = ("unet", "vae", "text_encoder")


@dataclass(frozen=True, slots=True)
class Components:
    """An image model ready to render. Schedulers are made per render; `prediction_type` is the model's."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    prediction_type: str
    beta_schedule: str  # the image model's own, for stills
    plan: DevicePlan


def check_model_folder(folder: Path) -> None:
    """Raise `IntegrityError` or `UsageError` unless `folder` is a whole Stable Diffusion 1.x folder. Loads nothing."""
    missing = [
        f"{part}/{proofs[0]}"
        for part, proofs in REQUIRED.items()
        if not any((folder / part / proof).is_file() for proof in proofs)
    ]
    missing += [f"{part}/*.safetensors" for part in WEIGHTED if not missing and not weight_files(folder / part)]
    if missing:
        raise IntegrityError(
            f"{folder} is not a diffusers folder of Stable Diffusion: {', '.join(missing)} missing",
            hint="the folder holds model_index.json, unet/, vae/, text_encoder/, tokenizer/, scheduler/",
        )
    if (folder / "text_encoder_2").is_dir():
        raise UsageError(
            f"{folder} is an SDXL model, which this version cannot render",
            hint="use a Stable Diffusion 1.5 model",
        )


def check_unet_config(config: Mapping[str, Any], folder: Path) -> None:
    """Raise `IntegrityError` for a config that describes no UNet, `UsageError` for one that takes more than latents."""
    if missing := [key for key in ("block_out_channels", "layers_per_block") if key not in config]:
        raise IntegrityError(f"{folder}: the UNet's config lacks `{missing[0]}`", hint="get the model again")
    if config.get("in_channels", 4) != 4:
        raise UsageError(
            f"{folder} takes {config['in_channels']} input channels: an inpainting or depth model, not one that"
            " renders from noise",
            hint="use the plain model it was made from",
        )


def check_model(model: Path) -> None:
    """Check a diffusers folder or a single-file checkpoint without loading its weights.

    Raises `IntegrityError` for what is incomplete or no image model, `UsageError` for what this version cannot render.
    """
    if model.is_dir():
        check_model_folder(model)
    else:
        check_checkpoint(model)
    check_unet_config(part_config(model, "unet"), model)


def part_config(model: Path, part: str) -> dict[str, Any]:
    """Describe one part: what its `config.json` says, or what the shapes in a single file tell."""
    if model.is_dir():
        return read_config(model / part / "config.json")
    return checkpoint_config(model, part)


def model_files(model: Path) -> list[Path]:
    """List the weight files that `load_components` reads."""
    return [path for part in WEIGHTED for path in weight_files(model / part)] if model.is_dir() else [model]


def load_components(
    model: Path, plan: DevicePlan, lay_over: Callable[[dict[str, Any]], None] | None = None
) -> Components:
    """Load a diffusers folder or a single-file checkpoint. No network is used, nothing in them is executed.

    `lay_over` may change the parts while they are on the CPU: LoRAs, another VAE, words of one's own.
    """
    check_model(model)
    with quietly():
        parts = _load_folder(model, plan) if model.is_dir() else load_parts(model, plan)
    if lay_over is not None:
        lay_over(parts)
    for name in WEIGHTED:
        parts[name] = parts[name].to(plan.device).eval().requires_grad_(False)
    check_tokenizer(parts["tokenizer"], parts["text_encoder"])
    for name in ("unet", "vae"):
        lay_out(parts[name])
    scheduler = parts.pop("scheduler")
    return Components(
        **parts,
        prediction_type=scheduler.get("prediction_type", "epsilon"),
        beta_schedule=scheduler.get("beta_schedule", "scaled_linear"),
        plan=plan,
    )


def lay_out(module: Any) -> None:
    """Choose the memory layout of convolutions: channels-last on CUDA; on CPUs it slows small models in bf16."""
    if module.device.type == "cuda":
        module.to(memory_format=torch.channels_last)


def _load_folder(folder: Path, plan: DevicePlan) -> dict[str, Any]:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    return {
        "unet": _load(UNet2DConditionModel, folder / "unet", plan),
        "vae": _load(AutoencoderKL, folder / "vae", plan),
        "text_encoder": _load(CLIPTextModel, folder / "text_encoder", plan),
        "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        "scheduler": read_config(folder / "scheduler" / "scheduler_config.json"),
    }


def read_config(path: Path) -> dict[str, Any]:
    """Read one part's JSON config. Raises `IntegrityError` if it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityError(f"{path} is not JSON: {error}", hint="get the model again") from error


def _load(model_class: Any, part: Path, plan: DevicePlan) -> Any:
    variant: Mapping[str, Any] = {"variant": "fp16"} if ".fp16." in weight_files(part)[0].name else {}
    try:
        return model_class.from_pretrained(part, dtype=plan.torch_dtype, local_files_only=True, **variant)
    except (OSError, ValueError, RuntimeError) as error:
        raise IntegrityError(
            f"{part} does not load: {str(error).splitlines()[0]}", hint="get the model again: a file may be cut short"
        ) from error


@contextmanager
def quietly() -> Iterator[None]:
    """Keep the libraries' load reports and deprecation notes off the terminal."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    levels = [(lib, lib.get_verbosity()) for lib in (diffusers_logging, transformers_logging)]
    bars = transformers_logging.is_progress_bar_enabled()
    try:
        for lib, _ in levels:
            lib.set_verbosity(logging.ERROR)
        transformers_logging.disable_progress_bar()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for lib, level in levels:
            lib.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
