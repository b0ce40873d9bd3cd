"""The three training stages of the paper behind one protocol: trained parameters, and the loss of a batch."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from animdiff_cli.motion import MotionModule
from animdiff_cli.training.data.batches import Batch
from animdiff_cli.training.lora_layers import LoraLayers
from animdiff_cli.training.losses import DenoisingLosses


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a learning rate. `exported`: they are part of the result."""

    parameters: Mapping[str, nn.Parameter]
    lr: float
    exported: bool = True


class TrainingStage(Protocol):
    """One stage of the paper's training."""

    groups: tuple[ParameterGroup, ...]

    def backward(self, batch: Batch, scale: float) -> Tensor:
        """Add the gradients of `scale` times the loss of `batch`; return the loss, detached, in float32."""
        ...


@dataclass(slots=True)
class DomainAdapterStage:
    """Stage 1: LoRA on the image model's attentions, trained on single frames without the motion module."""

    losses: DenoisingLosses
    adapter: LoraLayers
    lr: float
    groups: tuple[ParameterGroup, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.groups = (ParameterGroup(self.adapter.parameters(), self.lr),)

    def backward(self, batch: Batch, scale: float) -> Tensor:
        """Learn the appearance of single frames."""
        return self.losses.image_loss(batch, scale)


@dataclass(slots=True)
class MotionModuleStage:
    """Stage 2: the temporal transformers, trained on clips; image model and domain adapter are frozen."""

    losses: DenoisingLosses
    motion: MotionModule
    lr: float
    debias: float = 0.0
    groups: tuple[ParameterGroup, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.groups = (ParameterGroup(dict(self.motion.named_parameters()), self.lr),)

    def backward(self, batch: Batch, scale: float) -> Tensor:
        """Learn motion priors from clips."""
        return self.losses.video_loss(batch, self.motion, self.debias, scale)


@dataclass(slots=True)
class MotionLoraStage:
    """Stage 3: LoRA on temporal attention, while a spatial LoRA absorbs the appearance of the clips.

    The spatial LoRA learns from single frames without motion. It is active but frozen in the motion pass, so that the
    temporal LoRA need not explain appearance (MotionDirector, section 3.2). Only the temporal LoRA is exported.
    """

    losses: DenoisingLosses
    motion: MotionModule
    temporal: LoraLayers
    spatial: LoraLayers | None
    lr: float
    spatial_lr: float
    debias: float
    groups: tuple[ParameterGroup, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.groups = (ParameterGroup(self.temporal.parameters(), self.lr),)
        if self.spatial:
            self.groups += (ParameterGroup(self.spatial.parameters(), self.spatial_lr, exported=False),)

    def backward(self, batch: Batch, scale: float) -> Tensor:
        """Learn appearance from one frame, then motion from the clip; return the motion loss."""
        spatial = self.spatial
        if spatial and not batch.mask_spatial:
            with self.temporal.switched(enabled=False):
                self.losses.image_loss(batch, scale)
        spatial_mode = spatial.switched(enabled=not batch.mask_spatial, trained=False) if spatial else nullcontext()
        with spatial_mode:
            return self.losses.video_loss(batch, self.motion, self.debias, scale)

    def without_spatial(self) -> AbstractContextManager[None]:
        """Disable the spatial LoRA inside the context, as in the exported result."""
        return self.spatial.switched(enabled=False) if self.spatial else nullcontext()
