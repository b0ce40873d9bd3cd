"""Assemble the models of a training run: frozen and trained weights, and how the result is saved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from animdiff_cli.core.events import Emit, Loading
from animdiff_cli.diffusion.build import Components, part_config
from animdiff_cli.diffusion.cross_attention import share_text
from animdiff_cli.jobs.train_plan import TrainPlan
from animdiff_cli.motion import MotionModule, MotionSpec, check_fit, load_motion_module, plug
from animdiff_cli.motion.unet import UNet
from animdiff_cli.training.export import export_lora
from animdiff_cli.training.fsdp import FsdpSettings, ShardedModules, shard
from animdiff_cli.training.lora_layers import LoraLayers, image_projections, motion_projections
from animdiff_cli.training.losses import DenoisingLosses
from animdiff_cli.training.stages import DomainAdapterStage, MotionLoraStage, MotionModuleStage, TrainingStage
from animdiff_cli.weights.info import WeightsKind

Save = Callable[[Path, Mapping[str, str]], None]

#: offsets of the seeds of the two LoRAs of a run, so that their initial weights differ
_TEMPORAL_SEED, _SPATIAL_SEED = 0, 1


@dataclass(frozen=True, slots=True)
class TrainingModels:
    """A stage and the models it trains. `lora` are the exported LoRA layers, if the stage trains a LoRA."""

    stage: TrainingStage
    unet: UNet
    motion: MotionModule | None
    lora: LoraLayers | None
    save: Save
    sharded: ShardedModules = field(default_factory=ShardedModules)

    @property
    def num_trained(self) -> int:
        """Number of trained parameters."""
        return sum(parameter.numel() for group in self.stage.groups for parameter in group.parameters.values())

    @property
    def frozen_bytes(self) -> int:
        """Bytes of the image model and motion module in memory."""
        parameters = chain(self.unet.parameters(), self.motion.parameters() if self.motion else ())
        return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


def build_motion(plan: TrainPlan, emit: Emit) -> MotionModule | None:
    """Load the motion module, or create an untrained one for stage 2. Checks it before the image model loads."""
    config = plan.config
    if config.stage == "domain-adapter":
        return None
    unet_config = part_config(plan.model, "unet")
    if plan.motion_module is None:
        torch.manual_seed(config.seed)  # initial weights come from torch's global generator
        motion = plan.network.create(MotionSpec.for_unet(unet_config, plan.version))
    else:
        emit(Loading(f"motion module {plan.motion_module.name}"))
        motion = load_motion_module(plan.motion_module, config.motion_version)
    motion.check_frames(config.data.num_frames)
    check_fit(unet_config, motion.spec)
    return motion


def build_models(plan: TrainPlan, components: Components, motion: MotionModule | None) -> TrainingModels:
    """Plug everything in and freeze all but what the stage trains. Raises `IntegrityError` or `UsageError`."""
    unet = components.unet
    unet.requires_grad_(False)
    share_text(unet)
    if motion is not None:
        motion.requires_grad_(False)
        motion = _plug(unet, motion, plan)
    if plan.domain_adapter:
        path, scale = plan.domain_adapter
        LoraLayers.load(image_projections(unet), path, scale)
    kind = "still" if plan.config.stage == "domain-adapter" else "clip"
    betas: dict[str, Any] = {f"{kind}_betas": plan.config.beta_schedule, f"{kind}_beta_end": plan.config.beta_end}
    losses = DenoisingLosses.of(
        unet,
        plan.config.prediction_type or "epsilon",
        plan.config.snr_gamma,
        rescale_betas_zero_snr=bool(plan.config.rescale_betas_zero_snr),
        **betas,
    )
    return _BUILDERS[plan.config.stage](plan, losses, motion)


def _plug(unet: UNet, motion: MotionModule, plan: TrainPlan) -> MotionModule:
    """Attach the motion module. Stage 2 trains it in float32, from the values of its file."""
    attached = plug(unet, motion)
    if plan.config.stage == "motion-module":
        attached.float()  # small updates would vanish in half precision
        attached.load_state_dict(motion.state_dict())  # `plug` has rounded a copy to the dtype of the UNet
    return attached


def shard_models(
    models: TrainingModels, device: torch.device, world_size: int, settings: FsdpSettings
) -> TrainingModels:
    """Shard the network of stage 2 over all processes, inside their process group."""
    assert models.motion is not None and isinstance(models.stage, MotionModuleStage)
    sharded = shard(models.unet, models.motion, device, world_size, settings)
    # `replace` creates the stage again, so that its groups contain the new parameter objects
    return replace(models, stage=replace(models.stage), sharded=sharded)


def _motion_lora(plan: TrainPlan, losses: DenoisingLosses, motion: MotionModule | None) -> TrainingModels:
    config = plan.config
    assert motion is not None
    temporal = LoraLayers.new(
        motion_projections(motion), config.rank, scale=_scale(plan), seed=config.seed + _TEMPORAL_SEED
    )
    spatial = None
    if config.spatial_rank:
        seed = config.seed + _SPATIAL_SEED
        spatial = LoraLayers.new(image_projections(losses.unet), config.spatial_rank, seed=seed)
    stage = MotionLoraStage(losses, motion, temporal, spatial, config.lr, config.spatial_lr, config.debias)
    save = partial(_save_lora, temporal, plan, "motion-lora", motion.spec.version)
    return TrainingModels(stage, losses.unet, motion, temporal, save)


def _domain_adapter(plan: TrainPlan, losses: DenoisingLosses, motion: MotionModule | None) -> TrainingModels:
    config = plan.config
    adapter = LoraLayers.new(image_projections(losses.unet), config.rank, scale=_scale(plan), seed=config.seed)
    if config.as_lora:
        save = partial(_save_lora, adapter, plan, "lora", None)
    else:
        save = partial(_save_lora, adapter, plan, "domain-adapter", plan.version)
    return TrainingModels(DomainAdapterStage(losses, adapter, config.lr), losses.unet, None, adapter, save)


def _motion_module(plan: TrainPlan, losses: DenoisingLosses, motion: MotionModule | None) -> TrainingModels:
    assert motion is not None
    motion.requires_grad_(True)
    stage = MotionModuleStage(losses, motion, plan.config.lr, plan.config.debias)
    return TrainingModels(stage, losses.unet, motion, None, partial(plan.network.save, motion))


_BUILDERS: Mapping[str, Callable[[TrainPlan, DenoisingLosses, MotionModule | None], TrainingModels]] = {
    "motion-lora": _motion_lora,
    "domain-adapter": _domain_adapter,
    "motion-module": _motion_module,
}


def _scale(plan: TrainPlan) -> float:
    """Return alpha / rank; 1 without alpha, as in the official files."""
    return 1.0 if plan.config.alpha is None else plan.config.alpha / plan.config.rank


def _save_lora(
    lora: LoraLayers,
    plan: TrainPlan,
    kind: WeightsKind,
    version: str | None,
    path: Path,
    metadata: Mapping[str, str],
) -> None:
    export_lora(lora, path, kind=kind, version=version, layout=plan.config.format, metadata=metadata)
