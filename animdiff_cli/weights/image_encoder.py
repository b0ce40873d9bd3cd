"""CLIP image encoders: the config of a file, and a check of its weights."""

import re
from collections.abc import Mapping
from typing import Any

from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.weights.canonical import refuse_keys
from animdiff_cli.weights.completeness import check_part, network_shapes
from animdiff_cli.weights.files import WeightFile, config_beside
from animdiff_cli.weights.lazy import LazyTensor

#: width of the layers → (heads, activation), which tensors do not tell: ViT-L/14, ViT-H/14, ViT-bigG/14
_KNOWN: Mapping[int, tuple[int, str]] = {1024: (16, "quick_gelu"), 1280: (16, "gelu"), 1664: (16, "gelu")}
#: weights whose shapes tell the config
_SIZES = (
    "embeddings.patch_embedding.weight",
    "embeddings.position_embedding.weight",
    "visual_projection.weight",
    "encoder.layers.0.mlp.fc1.weight",
)
_POSITION_IDS = "embeddings.position_ids"


def read_image_encoder(file: WeightFile) -> tuple[dict[str, LazyTensor], dict[str, Any]]:
    """Return the weights of a `CLIPVisionModelWithProjection` and its config, from `config.json` or the shapes.

    Raises `UsageError` for an unknown size without a config, `IntegrityError` for missing or wrongly shaped weights.
    """
    tensors = {key: tensor for key, tensor in file.tensors.items() if not key.endswith(_POSITION_IDS)}
    config = config_beside(file, "model_type", "clip_vision_model") or _derived(file, tensors)
    expected = network_shapes("image_encoder", tensors, config, file.path.name)
    # transformers dropped the prefix in 5.6; files have it
    named = {key if key in expected else key.removeprefix("vision_model."): tensor for key, tensor in tensors.items()}
    if unknown := named.keys() - expected.keys():
        refuse_keys(unknown, file.path.name, "not a weight of a CLIP image encoder")
    check_part("image_encoder", named, config, file.path.name)
    return named, config


def _derived(file: WeightFile, tensors: Mapping[str, LazyTensor]) -> dict[str, Any]:
    """Derive the config from shapes."""
    names = {key.removeprefix("vision_model."): tensor for key, tensor in tensors.items()}
    if missing := [name for name in _SIZES if name not in names]:
        raise IntegrityError(f"{file.path.name} lacks `{missing[0]}`", hint="get the image encoder again")
    patches, positions, projection, mlp = (names[name] for name in _SIZES)
    width, patch = patches.shape[0], patches.shape[-1]
    if width not in _KNOWN:
        raise UsageError(
            f"{file.path.name} is an image encoder of width {width}, whose number of heads is not known",
            hint="put its config.json beside it",
        )
    heads, activation = _KNOWN[width]
    layers = {match[1] for name in names if (match := re.match(r"encoder\.layers\.(\d+)\.", name))}
    return {
        "hidden_size": width,
        "intermediate_size": mlp.shape[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": heads,
        "hidden_act": activation,
        "image_size": int((positions.shape[0] - 1) ** 0.5) * patch,
        "patch_size": patch,
        "projection_dim": projection.shape[0],
    }
