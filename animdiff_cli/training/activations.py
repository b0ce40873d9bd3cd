"""What a forward pass keeps for its backward pass: counted part by part from a UNet's config, before anything runs.

Numbers per part were counted on meta tensors at true size, with memory-efficient attention; `tests/training` counts
them again. Texts of 77 tokens and ranks of LoRAs are small beside them and left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from animdiff_cli.core.choices import Stage

#: kept per pixel and channel, by what is trained: a frozen linear layer keeps no input, one that learns does
SPATIAL_BLOCK: Mapping[Stage, float] = {"motion-lora": 21, "motion-module": 21, "domain-adapter": 28}
TEMPORAL: Mapping[Stage, float] = {"motion-lora": 27.5, "motion-module": 33}
#: beside its blocks, a spatial transformer of 1x1 convolutions (SD1.5) and one of linear layers (SDXL)
SPATIAL_ENDS, SPATIAL_ENDS_LINEAR = 3, 1
RESNET = 3  # of what comes in, and of what goes out


@dataclass(frozen=True, slots=True)
class Part:
    """One layer that is recomputed as a whole, `inward` and `outward` channels wide; `depth` blocks if spatial."""

    kind: Literal["resnet", "spatial", "temporal", "sampler"]
    level: int  # its picture is 2**level times smaller than the latents
    inward: int
    outward: int
    depth: int = 1


def kept_numbers(unet_config: Mapping[str, Any], stage: Stage, *, recompute: bool) -> float:
    """Return how many numbers are kept for each frame and latent pixel until the backward pass begins."""
    ends = SPATIAL_ENDS_LINEAR if unet_config.get("use_linear_projection") else SPATIAL_ENDS
    last = 3 * unet_config["block_out_channels"][0]  # norm, activation and convolution at the end
    return last + sum(_kept(part, stage, ends, recompute=recompute) / 4**part.level for part in _parts(unet_config))


def largest_part(unet_config: Mapping[str, Any], stage: Stage) -> float:
    """Return the numbers per frame and latent pixel of the part that takes most while it is recomputed."""

    def at_once(part: Part) -> float:
        one_block = Part(part.kind, part.level, part.inward, part.outward)  # each block is recomputed on its own
        return _kept(one_block, stage, 0, recompute=False) / 4**part.level

    return max(map(at_once, _parts(unet_config)))


def _kept(part: Part, stage: Stage, ends: int, *, recompute: bool) -> float:
    if part.kind == "resnet":
        return part.inward if recompute else RESNET * (part.inward + part.outward)
    if part.kind == "spatial":
        return part.inward * (ends + part.depth * (1 if recompute else SPATIAL_BLOCK[stage]))
    if part.kind == "temporal":
        if stage not in TEMPORAL:  # single frames pass none
            return 0
        return part.inward * (1 if recompute else TEMPORAL[stage])
    return part.inward


def _parts(config: Mapping[str, Any]) -> Iterator[Part]:
    """Walk a UNet's layers in the order they run. Every level has its temporal transformers, plugged in or not."""
    widths = list(config["block_out_channels"])
    layers, depths = (
        _per_level(config.get(key, 1), len(widths)) for key in ("layers_per_block", "transformer_layers_per_block")
    )
    skips, width = [widths[0]], widths[0]
    for level, outward in enumerate(widths):
        for _ in range(layers[level]):
            yield from _layer(config["down_block_types"][level], level, width, outward, depths[level])
            width = outward
            skips.append(width)
        if level < len(widths) - 1:
            yield Part("sampler", level, width, width)
            skips.append(width)
    middle = len(widths) - 1
    for _ in range(2):
        yield Part("resnet", middle, width, width)
    yield Part("spatial", middle, width, width, depths[middle])
    for level in reversed(range(len(widths))):
        for _ in range(layers[level] + 1):
            name = config["up_block_types"][middle - level]
            yield from _layer(name, level, width + skips.pop(), widths[level], depths[level])
            width = widths[level]
        if level:
            yield Part("sampler", level - 1, width, width)


def _layer(block_type: str, level: int, inward: int, width: int, depth: int) -> Iterator[Part]:
    yield Part("resnet", level, inward, width)
    if "CrossAttn" in block_type:
        yield Part("spatial", level, width, width, depth)
    yield Part("temporal", level, width, width)


def _per_level(value: Any, levels: int) -> list[int]:
    return [value] * levels if isinstance(value, int) else list(value)
