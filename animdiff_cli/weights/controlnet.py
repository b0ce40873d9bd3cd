"""ControlNets: read any file of one under diffusers' names, derive its config, and convert between the layouts."""

import json
import re
from collections.abc import Mapping
from typing import Any

from animdiff_cli.errors import UsageError
from animdiff_cli.weights import ldm_unet, model_configs
from animdiff_cli.weights.canonical import CanonicalWeights, ConvertedWeights, refuse_keys
from animdiff_cli.weights.completeness import check_part
from animdiff_cli.weights.controlnet_names import (
    ORIGINAL_PREFIX,
    bare_name,
    from_original,
    other_control,
    to_original,
)
from animdiff_cli.weights.files import WeightFile, config_beside
from animdiff_cli.weights.info import KIND_KEY, WeightsInfo
from animdiff_cli.weights.lazy import LazyTensor
from animdiff_cli.weights.lora_names import Layout
from animdiff_cli.weights.motion import official_name

#: files of the first version also hold the image model
IMAGE_MODEL = "the image model that the ControlNet was trained on"
_OTHERS = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "model_ema.", "logvar")
#: settings of a UNet that its encoder does not have
_OF_UNETS = ("out_channels", "up_block_types", "sample_size", "center_input_sample")
_NAMED = "use a ControlNet, such as control_v11p_sd15_canny.pth"


def read_controlnet(file: WeightFile) -> CanonicalWeights:
    """Read a ControlNet under diffusers' names, without a prefix.

    Raises `UsageError` for another network of the same purpose, `IntegrityError` for unknown keys.
    """
    if other := other_control(file):
        raise UsageError(f"{file.path.name} is {other}, which this version cannot use", hint=_NAMED)
    names = {key: bare_name(key) for key in file.tensors}
    layers = ldm_unet.layers_of_original(names.values())
    is_original = any(".zero_convs." in f".{name}" for name in names.values())
    tensors: dict[str, LazyTensor] = {}
    dropped: dict[str, str] = {}
    unknown = []
    for key, tensor in file.tensors.items():
        name = from_original(names[key], layers) if is_original else names[key]
        if key.startswith(_OTHERS):
            dropped[key] = IMAGE_MODEL
        elif name is None:
            unknown.append(key)
        else:
            tensors[name] = tensor
    if unknown:
        refuse_keys(unknown, file.path.name, "not a weight of a ControlNet")
    return CanonicalWeights(tensors, dropped, file.metadata)


def controlnet_config(tensors: Mapping[str, LazyTensor], name: str = "", *, simplified: bool = False) -> dict[str, Any]:
    """Derive the `ControlNetModel` config of tensors under diffusers' names.

    `name` of the file tells what tensors do not: the shuffle ControlNet pools its features. `simplified`: the condition
    is embedded by one convolution.
    """
    base = "sdxl" if "add_embedding.linear_1.weight" in tensors else "sd15"
    unet = {key: value for key, value in model_configs.unet_blocks(tensors, base).items() if key not in _OF_UNETS}
    hint = "controlnet_cond_embedding."
    numbers = {int(match[1]) for key in tensors if (match := re.fullmatch(rf"{hint}blocks\.(\d+)\.weight", key))}
    first = tensors[f"{hint}weight" if simplified else f"{hint}conv_in.weight"]
    widths = [first.num_rows]
    widths += [tensors[f"{hint}blocks.{number}.weight"].num_rows for number in sorted(numbers) if number % 2]
    attends = [_has(tensors, f"down_blocks.{level}.attentions.") for level in range(len(unet["block_out_channels"]))]
    return unet | {
        "_class_name": "ControlNetModel",
        "mid_block_type": "UNetMidBlock2DCrossAttn" if _has(tensors, "mid_block.attentions.") else "UNetMidBlock2D",
        "down_block_types": ["CrossAttnDownBlock2D" if attended else "DownBlock2D" for attended in attends],
        "conditioning_channels": first.shape[1],
        "conditioning_embedding_out_channels": widths,
        "global_pool_conditions": "shuffle" in name.lower(),
    }


def read_sparse_encoder(file: WeightFile) -> tuple[dict[str, LazyTensor], dict[str, Any]]:
    """Read the encoder of a SparseCtrl without its motion module, and derive its config.

    Its condition is one convolution of latents (rgb) or the stack of a ControlNet (scribble); the mask is one channel.
    Raises `IntegrityError` for missing, unknown or wrongly shaped weights.
    """
    names = {bare_name(key): tensor for key, tensor in file.tensors.items()}
    tensors = {name: tensor for name, tensor in names.items() if official_name(name) is None}
    simplified = "controlnet_cond_embedding.weight" in tensors
    config = controlnet_config(tensors, simplified=simplified) | {"simplified": simplified}
    check_part("sparsectrl", tensors, config, file.path.name)
    return tensors, config


def check_controlnet(contents: CanonicalWeights, config: Mapping[str, Any], source: str) -> None:
    """Raise `IntegrityError` for missing, unknown or wrongly shaped weights."""
    check_part("controlnet", contents.tensors, config, source)


def convert_controlnet(file: WeightFile, info: WeightsInfo, target: Layout) -> ConvertedWeights:
    """Convert to one file in the original layout, or a diffusers folder with its config."""
    contents = read_controlnet(file)
    config = recorded_config(file) or controlnet_config(contents.tensors, file.path.name)
    check_controlnet(contents, config, file.path.name)
    metadata = {**contents.metadata, KIND_KEY: info.kind}
    if target == "diffusers":
        text = json.dumps(config, indent=2).encode() + b"\n"
        files = {"": dict(contents.tensors)}
        return ConvertedWeights(
            files, dropped=contents.dropped, metadata=metadata | {"format": "pt"}, configs={"config.json": text}
        )
    layers = ldm_unet.layers_of_diffusers(contents.tensors)
    named = {key: to_original(key, layers) for key in contents.tensors}
    if unknown := [key for key, name in named.items() if name is None]:
        refuse_keys(unknown, file.path.name, "not a weight of a ControlNet")
    tensors = {f"{ORIGINAL_PREFIX}{name}": contents.tensors[key] for key, name in named.items()}
    return ConvertedWeights({"": tensors}, dropped=contents.dropped, metadata=metadata)


def recorded_config(file: WeightFile) -> dict[str, Any]:
    """Return the `ControlNetModel` config beside the weights; empty if there is none. Raises `IntegrityError`."""
    return config_beside(file, "_class_name", "ControlNetModel")


def _has(tensors: Mapping[str, LazyTensor], prefix: str) -> bool:
    return any(key.startswith(prefix) for key in tensors)
