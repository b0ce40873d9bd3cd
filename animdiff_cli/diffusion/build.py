"""The parts of an image model, from a diffusers folder, placed on the device."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.text import check_tokenizer
from animdiff_cli.errors import IntegrityError, UsageError

#: parts a Stable Diffusion folder must have, and the files of which one proves each is there
REQUIRED = {
    "unet": ("config.json",),
    "vae": ("config.json",),
    "text_encoder": ("config.json",),
    "tokenizer": ("tokenizer.json", "vocab.json"),
    "scheduler": ("scheduler_config.json",),
}
WEIGHTED = ("unet", "vae", "text_encoder")
_WEIGHT_SUFFIXES = (".safetensors", ".bin")


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


def weight_files(part: Path) -> list[Path]:
    """List the weight files of one part as they would be loaded: full precision first, safetensors first."""
    for variant in ("", ".fp16"):
        for suffix in _WEIGHT_SUFFIXES:
            found = [path for path in sorted(part.glob(f"*{variant}{suffix}")) if variant or ".fp16" not in path.name]
            if found:
                return found
    return []


def load_components(folder: Path, plan: DevicePlan) -> Components:
    """Load the parts of a diffusers folder. No network is used, nothing in the folder is executed."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    check_model_folder(folder)
    with _quietly():
        unet = _load(UNet2DConditionModel, folder / "unet", plan)
        vae = _load(AutoencoderKL, folder / "vae", plan)
        text_encoder = _load(CLIPTextModel, folder / "text_encoder", plan)
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    check_tokenizer(tokenizer, text_encoder)
    unet.to(memory_format=torch.channels_last)
    vae.to(memory_format=torch.channels_last)
    scheduler = read_config(folder / "scheduler" / "scheduler_config.json")
    return Components(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        prediction_type=scheduler.get("prediction_type", "epsilon"),
        beta_schedule=scheduler.get("beta_schedule", "scaled_linear"),
        plan=plan,
    )


def read_config(path: Path) -> dict[str, Any]:
    """Read one part's JSON config. Raises `IntegrityError` if it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityError(f"{path} is not JSON: {error}", hint="get the model again") from error


def _load(model_class: Any, part: Path, plan: DevicePlan) -> Any:
    variant: Mapping[str, Any] = {"variant": "fp16"} if ".fp16." in weight_files(part)[0].name else {}
    try:
        model = model_class.from_pretrained(part, dtype=plan.torch_dtype, local_files_only=True, **variant)
    except (OSError, ValueError, RuntimeError) as error:
        raise IntegrityError(
            f"{part} does not load: {str(error).splitlines()[0]}", hint="get the model again: a file may be cut short"
        ) from error
    return model.to(plan.device).eval().requires_grad_(False)


@contextmanager
def _quietly() -> Iterator[None]:
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
