"""Check that a part of an image model has exactly the weights of its network, with their shapes."""

import json
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from animdiff_cli.errors import IntegrityError
from animdiff_cli.weights.canonical import refuse_keys
from animdiff_cli.weights.lazy import LazyTensor
from animdiff_cli.weights.ldm_clip import with_model_prefix


def check_part(part: str, tensors: Mapping[str, LazyTensor], config: Mapping[str, Any], source: str) -> None:
    """Raise `IntegrityError` for missing, unknown or wrongly shaped weights. Keys are diffusers' names."""
    try:
        expected = expected_shapes(part, config)
    except Exception as error:  # the library raises arbitrary exceptions for invalid configs
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise IntegrityError(
            f"{source}: its {part} has an invalid config: {reason}", hint="download the model again"
        ) from error
    if missing := sorted(expected.keys() - tensors.keys()):
        raise IntegrityError(
            f"{source} lacks {len(missing)} weights, first `{part}.{missing[0]}`", hint="download the model again"
        )
    if unknown := tensors.keys() - expected.keys():
        refuse_keys((f"{part}.{name}" for name in unknown), source, "the network has no such weight")
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise IntegrityError(f"{source}: `{part}.{name}` has shape {tensors[name].shape}, not {shape}")


def expected_shapes(part: str, config: Mapping[str, Any]) -> Mapping[str, tuple[int, ...]]:
    """Return the shape of every weight of a network, without allocating it."""
    return _expected_shapes(part, json.dumps(config, sort_keys=True))


@lru_cache(maxsize=16)
def _expected_shapes(part: str, config: str) -> Mapping[str, tuple[int, ...]]:
    network = build_on_meta(part, json.loads(config))
    named = with_model_prefix if part.startswith("text_encoder") else str
    return MappingProxyType({named(name): tuple(tensor.shape) for name, tensor in network.state_dict().items()})


def build_on_meta(part: str, config: Mapping[str, Any]) -> Any:
    """Build the network of a part on torch's `meta` device, without allocating memory."""
    import torch

    settings = {key: value for key, value in config.items() if not key.startswith("_")}
    with torch.device("meta"):
        return _networks()[part](settings)


def _networks() -> dict[str, Any]:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    return {
        "unet": UNet2DConditionModel.from_config,
        "vae": AutoencoderKL.from_config,
        "text_encoder": lambda config: CLIPTextModel(CLIPTextConfig(**config)),
        "text_encoder_2": lambda config: CLIPTextModelWithProjection(CLIPTextConfig(**config)),
    }
