"""Check that a part of an image model has exactly the weights of its network, with their shapes."""

import json
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from animdiff_cli.core.garbage import collection_paused
from animdiff_cli.core.text import counted
from animdiff_cli.errors import IntegrityError
from animdiff_cli.weights.canonical import refuse_keys
from animdiff_cli.weights.lazy import LazyTensor, is_float
from animdiff_cli.weights.ldm_clip import with_model_prefix


def check_part(part: str, tensors: Mapping[str, LazyTensor], config: Mapping[str, Any], source: str) -> None:
    """Raise `IntegrityError` for missing, unknown or wrongly shaped weights. Keys are diffusers' names."""
    expected = network_shapes(part, tensors, config, source)
    check_shapes(expected, tensors, source, f"{part}.")
    for name in expected:
        if not is_float(tensors[name].dtype):
            raise IntegrityError(
                f"{source}: `{part}.{name}` has the dtype {tensors[name].dtype}, not a floating-point one",
                hint="quantized weights are not supported: use an fp16 or fp32 file",
            )


def check_shapes(
    expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, LazyTensor], source: str, prefix: str = ""
) -> None:
    """Raise `IntegrityError` for missing, unknown or wrongly shaped weights. `prefix` is for messages."""
    if missing := sorted(expected.keys() - tensors.keys()):
        raise IntegrityError(
            f"{source} lacks {counted(len(missing), 'weight')}, first `{prefix}{missing[0]}`",
            hint="download the model again",
        )
    if unknown := tensors.keys() - expected.keys():
        refuse_keys((f"{prefix}{name}" for name in unknown), source, "the network has no such weight")
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise IntegrityError(f"{source}: `{prefix}{name}` has shape {tensors[name].shape}, not {shape}")


def network_shapes(
    part: str, tensors: Mapping[str, LazyTensor], config: Mapping[str, Any], source: str
) -> Mapping[str, tuple[int, ...]]:
    """Return the shape of every weight of a network. Raises `IntegrityError` if no network has such a config."""
    _check_layers(part, tensors, config, source)
    try:
        return expected_shapes(part, config)
    except Exception as error:  # the library raises arbitrary exceptions for invalid configs
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise IntegrityError(
            f"{source}: its {part} has an invalid config: {reason}", hint="download the model again"
        ) from error


def _check_layers(part: str, tensors: Mapping[str, LazyTensor], config: Mapping[str, Any], source: str) -> None:
    """Refuse a config with more layers than the file has tensors, before they are built."""
    blocks, layers, depth = (
        _largest(config.get(key, 1))
        for key in ("block_out_channels", "layers_per_block", "transformer_layers_per_block")
    )
    blocks = len(config["block_out_channels"]) if isinstance(config.get("block_out_channels"), list) else blocks
    types = (len(value) for key, value in config.items() if key.endswith("block_types") and isinstance(value, list))
    layers *= max(blocks, *types, 1) * depth
    if max(layers, _largest(config.get("num_hidden_layers", 1))) > max(len(tensors), 1):
        raise IntegrityError(
            f"{source}: the config of its {part} has more layers than there are weights",
            hint="download the model again",
        )


def _largest(value: object) -> float:
    """Return the largest number in a possibly nested list; infinity for what is neither."""
    if isinstance(value, int | float):
        return abs(value)
    return max(map(_largest, value), default=1) if isinstance(value, list) and len(value) < 100 else float("inf")


def expected_shapes(part: str, config: Mapping[str, Any]) -> Mapping[str, tuple[int, ...]]:
    """Return the shape of every weight of a network, without allocating it."""
    return _expected_shapes(part, json.dumps(config, sort_keys=True))


@lru_cache(maxsize=16)
def _expected_shapes(part: str, config: str) -> Mapping[str, tuple[int, ...]]:
    network = next(iter(_built(part, config)), None) or build_on_meta(part, json.loads(config))
    named = with_model_prefix if part.startswith("text_encoder") else str
    return MappingProxyType({named(name): tuple(tensor.shape) for name, tensor in network.state_dict().items()})


def network_to_load(part: str, config: Mapping[str, Any]) -> Any:
    """Return the network of a part on torch's `meta` device: the one built for its shapes, once, or a new one."""
    try:
        return _built(part, json.dumps(config, sort_keys=True)).pop()
    except IndexError:  # it was loaded before
        return build_on_meta(part, config)


@lru_cache(maxsize=4)
def _built(part: str, config: str) -> list[Any]:
    """Hold a network that was built for its shapes. Empty when it was taken."""
    return [build_on_meta(part, json.loads(config))]


def build_on_meta(part: str, config: Mapping[str, Any]) -> Any:
    """Build the network of a part on torch's `meta` device, without allocating memory."""
    from animdiff_cli.weights.on_meta import on_meta  # torch loads here

    settings = {key: value for key, value in config.items() if not key.startswith("_")}
    with on_meta():
        return _networks()[part](settings)


def _networks() -> dict[str, Any]:
    with collection_paused():
        return _import_networks()


def _import_networks() -> dict[str, Any]:
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
    from transformers.models.clip.configuration_clip import CLIPTextConfig, CLIPVisionConfig
    from transformers.models.clip.modeling_clip import (
        CLIPTextModel,
        CLIPTextModelWithProjection,
        CLIPVisionModelWithProjection,
    )

    return {
        "unet": UNet2DConditionModel.from_config,
        "vae": AutoencoderKL.from_config,
        "controlnet": ControlNetModel.from_config,
        "sparsectrl": _sparse_encoder,
        "image_encoder": lambda config: CLIPVisionModelWithProjection(CLIPVisionConfig(**config)),
        "image_projection": _image_projection,
        "text_encoder": lambda config: CLIPTextModel(CLIPTextConfig(**config)),
        "text_encoder_2": lambda config: CLIPTextModelWithProjection(CLIPTextConfig(**config)),
    }


def _image_projection(config: Mapping[str, Any]) -> Any:
    """Build what an IP-Adapter makes tokens of a picture with."""
    from diffusers.models import embeddings

    width, token_width = config["input_width"], config["token_width"]
    if config["variant"] == "plain":
        return embeddings.ImageProjection(width, token_width, config["num_tokens"])
    if config["variant"] == "full":
        full: Any = embeddings.IPAdapterFullImageProjection
        return full(width, token_width)
    return embeddings.IPAdapterPlusImageProjection(
        embed_dims=width,
        output_dims=token_width,
        hidden_dims=config["width"],
        depth=config["num_hidden_layers"],
        heads=config["heads"],
        num_queries=config["num_tokens"],
    )


def _sparse_encoder(config: Mapping[str, Any]) -> Any:
    """Build the encoder of a SparseCtrl: a ControlNet whose condition may be embedded by one convolution."""
    from torch import nn

    network: Any = _networks()["controlnet"]({key: value for key, value in config.items() if key != "simplified"})
    if config["simplified"]:
        width = config["block_out_channels"][0]
        network.controlnet_cond_embedding = nn.Conv2d(config["conditioning_channels"], width, 3, padding=1)
    return network
