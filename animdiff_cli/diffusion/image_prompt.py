"""Load IP-Adapters and CLIP image encoders, and make tokens of pictures with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from animdiff_cli.core.text import counted
from animdiff_cli.diffusion.build import fill_position_ids, part_config, silence_libraries
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.patches import model_base
from animdiff_cli.diffusion.pictures import ClipPictures
from animdiff_cli.diffusion.weight_store import compute_device
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.weights.completeness import build_on_meta, expected_shapes, network_to_load
from animdiff_cli.weights.files import refuse_unusable
from animdiff_cli.weights.image_encoder import read_image_encoder
from animdiff_cli.weights.ip_adapter import IpAdapterWeights, read_ip_adapter
from animdiff_cli.weights.kind_checks import open_kind
from animdiff_cli.weights.lazy import LazyTensor
from animdiff_cli.weights.materialize import materialize

#: pictures that are encoded at once
CHUNK = 4
#: CLIP's mean and standard deviation of red, green and blue (Radford et al. 2021)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
#: (the adapter is plain, width that it takes) → alias of the image encoder that returns it
ENCODERS: Mapping[tuple[bool, int], str] = {
    (True, 1024): "clip-vit-h",
    (False, 1280): "clip-vit-h",
    (True, 1280): "clip-vit-bigg",
    (False, 1664): "clip-vit-bigg",
}


@dataclass(frozen=True, slots=True)
class IpAdapterFile:
    """An IP-Adapter that was opened and checked. Tensors are not read yet."""

    path: Path
    weights: IpAdapterWeights


@dataclass(frozen=True, slots=True)
class ImageEncoderFile:
    """An image encoder that was opened and checked. Tensors are not read yet."""

    path: Path
    config: Mapping[str, Any]  # of `CLIPVisionModelWithProjection`
    tensors: Mapping[str, LazyTensor]


@dataclass(frozen=True, slots=True, eq=False)
class ImagePromptNetwork:
    """An IP-Adapter with its image encoder, on the device."""

    encoder: Any
    projection: Any
    keys: Sequence[Tensor]  # of each cross-attention, in the order of the UNet: [inner, D]
    values: Sequence[Tensor]
    is_plain: bool  # it takes one embedding of a picture; others take all features before the last layer

    @property
    def side(self) -> int:
        """Height and width of the pictures that the encoder takes, in pixels."""
        return int(self.encoder.config.image_size)

    @torch.no_grad()
    def tokens(self, pictures: ClipPictures) -> Tensor:
        """Return the tokens of all pictures uint8 [side, side, 3], and last of no picture: [N+1, L, D]."""
        count = len(pictures.pictures)
        mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (MEAN, STD))
        parts = []
        for start in range(0, count, CHUNK):
            shown = pictures.chunk(range(start, min(start + CHUNK, count)))
            pixels = torch.from_numpy(shown).permute(0, 3, 1, 2) / 255
            parts.append(self._features((pixels - mean) / std))
        empty = torch.zeros_like(parts[0][:1]) if self.is_plain else self._features(torch.zeros_like(pixels[:1]))
        tokens: Tensor = self.projection(torch.cat([*parts, empty]))
        return tokens

    def _features(self, pixels: Tensor) -> Tensor:
        found = self.encoder(
            pixels.to(compute_device(self.encoder), self.encoder.dtype), output_hidden_states=not self.is_plain
        )
        features: Tensor = found.image_embeds if self.is_plain else found.hidden_states[-2]
        return features


def open_ip_adapter(path: Path, model: Path) -> IpAdapterFile:
    """Open an IP-Adapter and check it against the image model. Reads headers only.

    Raises `UsageError` for another kind or one that does not fit, `IntegrityError` for a damaged one.
    """
    file, _ = open_kind(path, "ip-adapter", base=model_base(model), model=model)
    with refuse_unusable(path.name):
        weights = read_ip_adapter(file)
    layers = expected_shapes("unet", part_config(model, "unet"))
    wanted = [shape for name, shape in layers.items() if name.endswith("attn2.to_k.weight")]
    found = [key.shape for key in weights.keys]
    pairs = zip([*found, (0, weights.token_width)], [*wanted, (0, wanted[0][1])], strict=False)
    why = None
    if len(found) != len(wanted):
        why = f"it has {counted(len(found), 'layer')}, the model {len(wanted)}"
    elif differs := next((pair for pair in pairs if pair[0] != pair[1]), None):
        why = "a layer of it takes {} numbers of a token and returns {}, the model {} and {}".format(
            *reversed(differs[0]), *reversed(differs[1])
        )
    if why:
        raise UsageError(
            f"{path.name} does not fit the image model {model.name}: {why}",
            hint="use an IP-Adapter that was made for this image model or its base",
        )
    return IpAdapterFile(path, weights)


def open_image_encoder(path: Path | None, adapters: Sequence[IpAdapterFile]) -> ImageEncoderFile | None:
    """Open the image encoder of all image prompts and check that it fits them. Reads headers only.

    Raises `NotFound` for a missing one, `UsageError` for one that does not fit or has no use, `IntegrityError` for a
    damaged one.
    """
    if path is None:
        if adapters:
            raise NotFound(
                f"{adapters[0].path.name} needs an image encoder, and there is no folder image_encoder/ beside it",
                hint=f"add `--image-encoder {_alias(adapters[0])}`",
            )
        return None
    if not adapters:
        raise UsageError(
            "an image encoder has no effect without an image prompt", hint="add `--image-prompt REF=PICTURE`"
        )
    file, _ = open_kind(path, "image-encoder")
    with refuse_unusable(path.name):
        tensors, config = read_image_encoder(file)
    for adapter in adapters:
        part = "projection_dim" if adapter.weights.variant == "plain" else "hidden_size"
        if config[part] != adapter.weights.input_width:
            raise UsageError(
                f"{adapter.path.name} takes {adapter.weights.input_width} features of a picture, and the image encoder"
                f" {path.name} returns {config[part]}",
                hint=f"use `--image-encoder {_alias(adapter)}`; all image prompts of a clip share one encoder",
            )
    return ImageEncoderFile(path, config, tensors)


def load_image_encoder(opened: ImageEncoderFile, plan: DevicePlan) -> Any:
    """Load the encoder onto the device, or where its weights rest."""
    with silence_libraries():
        network = network_to_load("image_encoder", opened.config)
    network.load_state_dict(materialize(opened.tensors, plan.torch_dtype, plan.load_device), assign=True)
    for name, buffer in network.named_buffers():
        if buffer.is_meta:
            fill_position_ids(network, name, plan.load_device)
    return network.eval().requires_grad_(False)


def load_ip_adapter(opened: IpAdapterFile, encoder: Any, plan: DevicePlan) -> ImagePromptNetwork:
    """Load an IP-Adapter onto the device."""
    weights = opened.weights
    projection = build_on_meta("image_projection", weights.config)
    projection.load_state_dict(materialize(weights.projection, plan.torch_dtype, plan.device), assign=True)
    keys, values = (
        tuple(materialize({str(i): t for i, t in enumerate(layers)}, plan.torch_dtype, plan.device).values())
        for layers in (weights.keys, weights.values)
    )
    projection = projection.eval().requires_grad_(False)
    return ImagePromptNetwork(encoder, projection, keys, values, weights.variant == "plain")


def _alias(adapter: IpAdapterFile) -> str:
    return ENCODERS.get((adapter.weights.variant == "plain", adapter.weights.input_width), "FOLDER")
