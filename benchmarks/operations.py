"""Print what a step consists of: shares of its floating-point operations by part, counted, without weights.

    python -m benchmarks.operations

Multiplications and additions of matrix products, convolutions and attention count, as in `diffusion.flops`.
"""

from collections import Counter
from dataclasses import dataclass, replace

from diffusers import UNet2DConditionModel

from animdiff_cli.diffusion import flops
from animdiff_cli.diffusion.flops import UNetCost
from animdiff_cli.jobs.cost import with_defaults
from animdiff_cli.motion import MotionSpec
from animdiff_cli.weights.model_configs import shipped_config

PARTS = {"resnet": "ResNets", "temporal": "motion modules", "downsampler": "sampling", "upsampler": "sampling"}


@dataclass(frozen=True, slots=True)
class Clip:
    """What a step is counted for, with guidance."""

    base: str
    version: str
    frames: int
    size: int  # pixels, square

    @property
    def cost(self) -> UNetCost:
        config = with_defaults(UNet2DConditionModel, shipped_config(self.base, "unet"))
        motion = MotionSpec.for_unet(config, self.version)  # type: ignore[arg-type]  # a version that is known
        return UNetCost(config, motion, self.size // 8, self.size // 8, rows=2)


CLIPS = (Clip("sd15", "v3", 16, 512), Clip("sd15", "v3", 16, 256), Clip("sdxl", "sdxl", 8, 1024))


def shares(clip: Clip) -> dict[str, float]:
    """Return the shares of a step by part, if every layer runs for both rows of guidance."""
    cost, found = replace(clip.cost, shares_rows=False), Counter[str]()
    images = clip.frames * cost.rows
    for layer in cost._layers():
        if layer.kind == "temporal":
            found[PARTS["temporal"]] += cost.rows * cost._temporal(layer, clip.frames, [clip.frames])
        elif layer.kind == "spatial":
            pixels, channels = cost._pixels(layer.level), layer.out_channels
            found["feed-forward layers"] += images * layer.depth * flops._feed_forward(channels) * pixels
            found["self-attention of images"] += images * layer.depth * flops._self_attention(pixels, channels)
        else:
            found[PARTS[layer.kind]] += images * cost._image_layer(layer)
    return {part: count / cost.call(clip.frames) for part, count in found.items()}


def reusing_share(clip: Clip) -> float:
    """Return the share of a step that remains where `--cache` reuses deep layers."""
    cost = clip.cost
    return cost.call_in_windows(clip.frames, [clip.frames], is_deep=False) / cost.call(clip.frames)


def merging_share(clip: Clip) -> float:
    """Return the share of a step that merging half of the tokens of the outermost self-attentions leaves out."""
    cost = replace(clip.cost, shares_rows=False)
    outermost = [layer for layer in cost._layers() if layer.kind == "spatial" and layer.level == 0]
    pixels = cost._pixels(0)
    saved = sum(
        layer.depth
        * (flops._self_attention(pixels, layer.out_channels) - flops._self_attention(pixels // 2, layer.out_channels))
        for layer in outermost
    )
    return clip.frames * cost.rows * saved / cost.call(clip.frames)


def main() -> None:
    """Print all of it."""
    for clip in CLIPS:
        print(f"{clip.base}, {clip.frames} frames of {clip.size} px: {clip.cost.call(clip.frames) / 1e12:.1f} TFLOP")
        for part, share in sorted(shares(clip).items(), key=lambda item: -item[1]):
            print(f"  {part:<48} {share:6.1%}")
        print(f"  {'what remains of a step that reuses deep layers':<48} {reusing_share(clip):6.1%}")
        print(f"  {'what merging half of the outermost tokens saves':<48} {merging_share(clip):6.1%}")


if __name__ == "__main__":
    main()
