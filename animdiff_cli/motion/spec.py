"""The layout of motion modules: published versions, for any UNet layout."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from animdiff_cli.core.choices import BetaSchedule, MotionVersion
from animdiff_cli.errors import UsageError

#: one tuple per block, holding the width of each temporal transformer in it
Widths = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class VersionTraits:
    """Arithmetic that differs between published versions."""

    max_frames: int  # rows of the positional encoding
    trained_frames: int  # of the clips it was trained on
    mid_block: bool  # a temporal transformer between the mid block's attention and second ResNet
    #: the GroupNorm of temporal transformers takes its statistics over all frames of a clip
    norm_across_frames: bool = False
    #: so do the UNet's ResNet norms and final norm
    resnet_norms_across_frames: bool = False
    #: noise schedule of training and its last beta
    beta_schedule: BetaSchedule = "linear"
    beta_end: float = 0.012
    #: SDXL size conditioning in place of the clip's own size: original width, height, crop, target width, height
    size_ids: tuple[int, int, int, int, int, int] | None = None


#: From the official code: branch main for v1 to v3, branch sdxl for SDXL, and the repositories of Hotshot-XL and
#: PIA. diffusers runs the temporal norm across frames and the ResNet norms per frame for every version, which is right
#: for SDXL only.
TRAITS: Mapping[MotionVersion, VersionTraits] = {
    "v1": VersionTraits(max_frames=24, trained_frames=16, mid_block=False, resnet_norms_across_frames=True),
    "v2": VersionTraits(max_frames=32, trained_frames=16, mid_block=True),
    "v3": VersionTraits(max_frames=32, trained_frames=16, mid_block=False),
    "sdxl": VersionTraits(
        max_frames=32,
        trained_frames=16,
        mid_block=False,
        norm_across_frames=True,
        beta_schedule="scaled_linear",
        beta_end=0.020,
    ),
    "hotshot": VersionTraits(
        max_frames=24,
        trained_frames=8,
        mid_block=False,
        resnet_norms_across_frames=True,
        beta_schedule="scaled_linear",
        size_ids=(1920, 1080, 0, 0, 512, 512),
    ),
    # v3 in shape; its repository has the ResNet norms of v1
    "pia": VersionTraits(max_frames=32, trained_frames=16, mid_block=False, resnet_norms_across_frames=True),
}


@dataclass(frozen=True, slots=True)
class MotionSpec:
    """The layout of one motion module: version, widths, and the number of frames it supports."""

    version: MotionVersion
    down: Widths
    mid: tuple[int, ...]
    up: Widths
    max_frames: int
    num_heads: int = 8  # the same at every width
    num_attentions: int = 2  # temporal self-attentions per transformer block

    @property
    def traits(self) -> VersionTraits:
        return TRAITS[self.version]

    @property
    def window_length(self) -> int:
        """Frames of a window of a long clip: as trained. A module with more positions than published ones uses all."""
        longer = self.max_frames > self.traits.max_frames
        return self.max_frames if longer else min(self.traits.trained_frames, self.max_frames)

    def widths(self) -> dict[str, int]:
        """Width of every temporal transformer under its official name, `down_blocks.0.motion_modules.0` and so on."""
        groups = [("down_blocks", self.down), ("up_blocks", self.up)]
        named = {
            f"{group}.{block}.motion_modules.{layer}": width
            for group, blocks in groups
            for block, layers in enumerate(blocks)
            for layer, width in enumerate(layers)
        }
        return named | {f"mid_block.motion_modules.{layer}": width for layer, width in enumerate(self.mid)}

    def check_frames(self, num_frames: int) -> None:
        """Raise `UsageError` unless `num_frames` is an integer from 1 to `max_frames`."""
        if not isinstance(num_frames, int) or not 1 <= num_frames <= self.max_frames:
            raise UsageError(
                f"{num_frames} frames: this {self.version} motion module supports 1 to {self.max_frames}",
                hint=f"render at most {self.max_frames} frames: `--frames {self.max_frames}`",
            )

    @classmethod
    def for_unet(cls, config: Mapping[str, Any], version: MotionVersion = "v3") -> "MotionSpec":
        """Describe the motion module of `version` that fits a UNet of this config, or a ControlNet, its encoder."""
        traits = TRAITS[version]
        widths = tuple(config["block_out_channels"])
        layers = config["layers_per_block"]
        per_block = tuple(layers) if isinstance(layers, (list, tuple)) else (layers,) * len(widths)
        down = tuple((width,) * count for width, count in zip(widths, per_block, strict=True))
        up = tuple((width,) * (count + 1) for width, count in zip(widths[::-1], per_block[::-1], strict=True))
        if "conditioning_channels" in config:
            up = ()
        return cls(version, down, (widths[-1],) if traits.mid_block else (), up, traits.max_frames)
