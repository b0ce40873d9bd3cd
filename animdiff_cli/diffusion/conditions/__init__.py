"""Conditions: what steers a clip. One file per kind, each a `Condition`."""

from animdiff_cli.diffusion.conditions.condition import (
    ClipContext,
    ClipStart,
    Condition,
    StepEnd,
    UNetCall,
    contributions,
    prepared,
)
from animdiff_cli.diffusion.conditions.control import ControlCondition, Strength
from animdiff_cli.diffusion.conditions.image_prompt import ImagePromptCondition
from animdiff_cli.diffusion.conditions.known_frames import KnownFrames
from animdiff_cli.diffusion.conditions.lora import LoraCondition
from animdiff_cli.diffusion.conditions.motion_scale import MotionScaleCondition
from animdiff_cli.diffusion.conditions.motion_weights import MotionWeightsCondition
from animdiff_cli.diffusion.conditions.pia import PiaCondition
from animdiff_cli.diffusion.conditions.prompt import PromptCondition
from animdiff_cli.diffusion.conditions.prompt_travel import PromptTravelCondition
from animdiff_cli.diffusion.conditions.regions import Region, RegionsCondition
from animdiff_cli.diffusion.conditions.sdxl import SdxlCondition, size_ids
from animdiff_cli.diffusion.conditions.source_frames import SourceFrames
from animdiff_cli.diffusion.conditions.sparse_control import SparseControlCondition

__all__ = [
    "ClipContext",
    "ClipStart",
    "Condition",
    "ControlCondition",
    "ImagePromptCondition",
    "KnownFrames",
    "LoraCondition",
    "MotionScaleCondition",
    "MotionWeightsCondition",
    "PiaCondition",
    "PromptCondition",
    "PromptTravelCondition",
    "Region",
    "RegionsCondition",
    "SdxlCondition",
    "SourceFrames",
    "SparseControlCondition",
    "StepEnd",
    "Strength",
    "UNetCall",
    "contributions",
    "prepared",
    "size_ids",
]
