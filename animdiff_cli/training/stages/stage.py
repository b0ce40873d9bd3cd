"""The three stages of the paper behind one interface: what is trained, and the loss of a batch."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from animdiff_cli.motion import MotionModule
from animdiff_cli.training.data.batches import Batch
from animdiff_cli.training.lora_layers import LoraLayers
from animdiff_cli.training.stages.passes import Passes


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that share a learning rate. `keep`: they are the result, not a means to it."""

    parameters: Mapping[str, nn.Parameter]
    lr: float
    keep: bool = True


class Stage(Protocol):
    """One stage of the recipe."""

    groups: tuple[Group, ...]

    def backward(self, batch: Batch, scale: float) -> Tensor:
        """Add the gradients of `scale` times the loss of `batch`; return the loss, detached, in float32."""
        ...


@dataclass(slots=True)
class MotionLora:
    """Stage 3: LoRA on temporal self-attention, while a spatial LoRA absorbs what the clips look like.

    The spatial LoRA learns on single frames without motion; in the motion pass it is there and takes no gradients, so
    the temporal one need not explain appearance (MotionDirector, section 3.2). Only the temporal one is the result.
    """

    passes: Passes
    motion: MotionModule
    temporal: LoraLayers
    spatial: LoraLayers | None
    lr: float
    spatial_lr: float
    debias: float
    groups: tuple[Group, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.groups = (Group(self.temporal.parameters(), self.lr),)
        if self.spatial:
            self.groups += (Group(self.spatial.parameters(), self.spatial_lr, keep=False),)

    def backward(self, batch: Batch, scale: float) -> Tensor:
        """Learn appearance from a frame, then motion from the clip; returns the motion loss."""
        spatial = self.spatial
        if spatial and not batch.mask_spatial:
            with self.temporal.used(enabled=False):
                self.passes.image_loss(batch, scale)
        switched = spatial.used(enabled=not batch.mask_spatial, trained=False) if spatial else nullcontext()
        with switched:
            return self.passes.video_loss(batch, self.motion, self.debias, scale)

    def without_spatial(self) -> AbstractContextManager[None]:
        """Run what is inside as the result will run: the spatial LoRA is off."""
        return self.spatial.used(enabled=False) if self.spatial else nullcontext()


@dataclass(slots=True)
class DomainAdapter:
    """Stage 1: LoRA on the image model's attentions, on single frames, motion unplugged."""

    passes: Passes
    adapter: LoraLayers
    lr: float
    groups: tuple[Group, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.groups = (Group(self.adapter.parameters(), self.lr),)

    def backward(self, batch: Batch, scale: float) -> Tensor:
        """Learn what single frames of the videos look like."""
        return self.passes.image_loss(batch, scale)


@dataclass(slots=True)
class WholeMotionModule:
    """Stage 2: the temporal transformers alone, on clips; image model and adapter stay as they are."""

    passes: Passes
    motion: MotionModule
    lr: float
    debias: float = 0.0
    groups: tuple[Group, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.groups = (Group(dict(self.motion.named_parameters()), self.lr),)

    def backward(self, batch: Batch, scale: float) -> Tensor:
        """Learn motion priors."""
        return self.passes.video_loss(batch, self.motion, self.debias, scale)
