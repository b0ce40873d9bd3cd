"""The layers of a UNet, read from its config: what memory and operations are counted by."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a UNet, or a temporal transformer plugged in after it.

    Its feature map is 2**`level` times smaller than the latents: that of the input for `downsampler`, of the output for
    `upsampler`. `depth` is the number of blocks of a spatial transformer.
    """

    kind: Literal["resnet", "spatial", "temporal", "downsampler", "upsampler"]
    level: int
    in_channels: int
    out_channels: int
    depth: int = 1


def unet_layers(config: Mapping[str, Any], *, temporal_in_mid: bool = False) -> Iterator[Layer]:
    """Yield a UNet's layers in the order they run, with temporal transformers at every level.

    Of a ControlNet, which is an encoder, the config has no up blocks, and the layers end with the middle block.
    `temporal_in_mid`: with one in the mid block too, as v2 motion modules have.
    """
    widths = list(config["block_out_channels"])
    layers, depths = (
        _per_level(config.get(key, 1), len(widths)) for key in ("layers_per_block", "transformer_layers_per_block")
    )
    on_the_way_up = _per_level(config.get("reverse_transformer_layers_per_block") or depths[::-1], len(widths))
    skips, width = [widths[0]], widths[0]
    for level, out_channels in enumerate(widths):
        for place in range(layers[level]):
            depth = _depth(depths[level], place)
            yield from _block_layers(config["down_block_types"][level], level, width, out_channels, depth)
            width = out_channels
            skips.append(width)
        if level < len(widths) - 1:
            yield Layer("downsampler", level, width, width)
            skips.append(width)
    middle = len(widths) - 1
    yield Layer("resnet", middle, width, width)
    yield Layer("spatial", middle, width, width, _depth(depths[middle], 0))
    if temporal_in_mid:
        yield Layer("temporal", middle, width, width)
    yield Layer("resnet", middle, width, width)
    if is_encoder(config):
        return
    for level in reversed(range(len(widths))):
        for place in range(layers[level] + 1):
            name, depth = config["up_block_types"][middle - level], _depth(on_the_way_up[middle - level], place)
            yield from _block_layers(name, level, width + skips.pop(), widths[level], depth)
            width = widths[level]
        if level:
            yield Layer("upsampler", level - 1, width, width)


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Whether this is the config of a ControlNet or SparseCtrl."""
    return "conditioning_channels" in config


def _block_layers(block_type: str, level: int, in_channels: int, out_channels: int, depth: int) -> Iterator[Layer]:
    yield Layer("resnet", level, in_channels, out_channels)
    if "CrossAttn" in block_type:
        yield Layer("spatial", level, out_channels, out_channels, depth)
    yield Layer("temporal", level, out_channels, out_channels)


def _depth(value: int | Sequence[int], place: int) -> int:
    """Return the depth of one transformer of a block: distilled models of SDXL list one for each."""
    return value if isinstance(value, int) else value[min(place, len(value) - 1)]


def _per_level(value: Any, levels: int) -> list[Any]:
    """Return one value per level: configs have a list, or one number for all."""
    return [value] * levels if isinstance(value, int) else list(value)
