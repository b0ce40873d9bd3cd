"""The models of a training run, plugged together: what is frozen, what is trained, and how the result is saved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from animdiff_cli.core.events import Emit, Loading
from animdiff_cli.diffusion.build import Components, part_config
from animdiff_cli.diffusion.cross_attention import share_text
from animdiff_cli.jobs.train_plan import TrainPlan
from animdiff_cli.motion import MotionModule, check_fit, load_motion_module, plug
from animdiff_cli.training.export import save_low_rank
from animdiff_cli.training.fsdp import Sharding, Shards, shard
from animdiff_cli.training.lora_layers import LoraLayers, image_projections, motion_projections
from animdiff_cli.training.stages.passes import Passes
from animdiff_cli.training.stages.stage import DomainAdapter, MotionLora, Stage, WholeMotionModule

Save = Callable[[Path, Mapping[str, str]], None]

#: initial weights of the two LoRAs of one run come from different numbers
_TEMPORAL_SEED, _SPATIAL_SEED = 0, 1


@dataclass(frozen=True, slots=True)
class Built:
    """A stage ready to train around `unet`. `result` are the branches it trains, if it trains branches."""

    stage: Stage
    unet: Any
    motion: MotionModule | None
    result: LoraLayers | None
    save: Save
    shards: Shards = field(default_factory=Shards)

    @property
    def trained(self) -> int:
        """Count the numbers that take gradients."""
        return sum(parameter.numel() for group in self.stage.groups for parameter in group.parameters.values())

    @property
    def frozen_bytes(self) -> int:
        """Bytes of the image model and motion module as they lie in memory."""
        modules = [self.unet, *([self.motion] if self.motion else [])]
        return sum(p.numel() * p.element_size() for module in modules for p in module.parameters())


def build_motion(plan: TrainPlan, emit: Emit) -> MotionModule | None:
    """Load the motion module, or make an untrained one for stage 2; checked before the image model's weights load."""
    config = plan.config
    if config.stage == "domain-adapter":
        return None
    unet_config = part_config(plan.model, "unet")
    if plan.motion_module is None:
        from animdiff_cli.motion import MotionSpec

        torch.manual_seed(config.seed)  # initial weights come from torch's own generator
        motion = plan.network.make(MotionSpec.for_unet(unet_config, plan.version))
    else:
        emit(Loading(f"motion module {plan.motion_module.name}"))
        motion = load_motion_module(plan.motion_module, config.motion_version)
    motion.check_frames(config.data.num_frames)
    check_fit(unet_config, motion.spec)
    return motion


def build_stage(plan: TrainPlan, parts: Components, motion: MotionModule | None) -> Built:
    """Plug everything together. Only what the stage trains takes gradients. Raises `IntegrityError` or `UsageError`."""
    unet = parts.unet
    unet.requires_grad_(False)
    share_text(unet)
    if motion is not None:
        motion.requires_grad_(False)
        plug(unet, motion)
    if plan.domain_adapter:
        path, scale = plan.domain_adapter
        LoraLayers.load(image_projections(unet), path, scale)
    kind = "still" if plan.config.stage == "domain-adapter" else "clip"
    betas: dict[str, Any] = {f"{kind}_betas": plan.config.beta_schedule, f"{kind}_beta_end": plan.config.beta_end}
    passes = Passes.around(unet, parts.prediction_type, plan.config.snr_gamma, **betas)
    return _BUILDERS[plan.config.stage](plan, passes, motion)


def sharded(built: Built, device: torch.device, world: int, sharding: Sharding) -> Built:
    """Spread the network of stage 2 over all processes, which have met by now."""
    assert built.motion is not None and isinstance(built.stage, WholeMotionModule)
    shards = shard(built.unet, built.motion, device, world, sharding)
    return replace(built, stage=replace(built.stage), shards=shards)  # the stage names its new parameters


def _motion_lora(plan: TrainPlan, passes: Passes, motion: MotionModule | None) -> Built:
    config = plan.config
    assert motion is not None
    temporal = LoraLayers.new(
        motion_projections(motion), config.rank, scale=_scale(plan), seed=config.seed + _TEMPORAL_SEED
    )
    spatial = None
    if config.spatial_rank:
        seed = config.seed + _SPATIAL_SEED
        spatial = LoraLayers.new(image_projections(passes.unet), config.spatial_rank, seed=seed)
    stage = MotionLora(passes, motion, temporal, spatial, config.lr, config.spatial_lr, config.debias)
    save = partial(_save_low_rank, temporal, plan, "motion-lora", motion.spec.version)
    return Built(stage, passes.unet, motion, temporal, save)


def _domain_adapter(plan: TrainPlan, passes: Passes, motion: MotionModule | None) -> Built:
    config = plan.config
    adapter = LoraLayers.new(image_projections(passes.unet), config.rank, scale=_scale(plan), seed=config.seed)
    if config.as_lora:
        save = partial(_save_low_rank, adapter, plan, "lora", None)
    else:
        save = partial(_save_low_rank, adapter, plan, "domain-adapter", plan.version)
    return Built(DomainAdapter(passes, adapter, config.lr), passes.unet, None, adapter, save)


def _motion_module(plan: TrainPlan, passes: Passes, motion: MotionModule | None) -> Built:
    assert motion is not None
    motion.float().requires_grad_(True)  # small steps would vanish in half precision
    stage = WholeMotionModule(passes, motion, plan.config.lr, plan.config.debias)
    return Built(stage, passes.unet, motion, None, partial(plan.network.save, motion))


_BUILDERS: Mapping[str, Callable[[TrainPlan, Passes, MotionModule | None], Built]] = {
    "motion-lora": _motion_lora,
    "domain-adapter": _domain_adapter,
    "motion-module": _motion_module,
}


def _scale(plan: TrainPlan) -> float:
    """Alpha over rank; 1 where no alpha is given, as in the official files."""
    return 1.0 if plan.config.alpha is None else plan.config.alpha / plan.config.rank


def _save_low_rank(
    branches: LoraLayers, plan: TrainPlan, kind: Any, version: str | None, path: Path, metadata: Mapping[str, str]
) -> None:
    save_low_rank(branches, path, kind=kind, version=version, layout=plan.config.format, metadata=metadata)
