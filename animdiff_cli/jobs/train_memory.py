"""Memory of a training run: estimate it, save it where it is short, and report when it runs out."""

import gc
from contextlib import AbstractContextManager
from functools import partial

import torch

from animdiff_cli.core.events import Emit, Note
from animdiff_cli.core.text import counted
from animdiff_cli.diffusion.build import Components
from animdiff_cli.diffusion.memory import free_memory, out_of_memory_as_device_error
from animdiff_cli.jobs.train_plan import TrainPlan
from animdiff_cli.jobs.train_stages import TrainingModels
from animdiff_cli.training.data.dataset import ClipDataset
from animdiff_cli.training.distributed import DistributedContext
from animdiff_cli.training.estimate import estimate, remedies
from animdiff_cli.training.gradient_checkpointing import enable_gradient_checkpointing

#: gradient checkpointing is turned on if a step without it would use more than this share of the free memory
COMFORTABLE = 0.5


def set_up_memory(
    plan: TrainPlan, clips: ClipDataset, models: TrainingModels, distributed: DistributedContext, emit: Emit
) -> bool:
    """Report the memory of a step; enable gradient checkpointing if requested or needed. Return whether it is on."""
    shards = distributed.world_size if distributed.is_sharded else 1
    config, dtype = plan.config, plan.device.torch_dtype
    free = free_memory(plan.device.device)
    if free is not None:
        free += models.frozen_bytes  # these are loaded already, and are part of the estimate
    area = max(height * width for height, width in (item.bucket for item in clips.items)) // 64
    estimate_step = partial(
        estimate,
        config,
        models.unet.config,
        frozen_bytes=models.frozen_bytes // shards,
        trained=models.num_trained // shards,
        area=area,
        dtype=dtype,
    )
    needed = estimate_step(gradient_checkpointing=False)
    checkpointing = config.gradient_checkpointing
    if checkpointing is None:
        short = free is not None and needed.total > COMFORTABLE * free
        checkpointing = bool(distributed.max(int(short), plan.device.device))
    if checkpointing:
        enable_gradient_checkpointing(models.unet, models.motion)
        needed = estimate_step(gradient_checkpointing=True)
    available = "" if free is None else f"; {free / 1e9:.1f} GB are available"
    mode = ", with gradient checkpointing" if checkpointing else ""
    emit(Note(f"a step needs {needed.describe()}{mode}{available}"))
    if free is not None and needed.total > free:
        remedy = remedies(config, dtype, gradient_checkpointing=checkpointing)
        emit(Note(f"this exceeds the available memory: {remedy}"))
    return checkpointing


def offload_encoders(components: Components) -> None:
    """Move VAE and text encoders to the CPU: only samples need the VAE, and nothing needs the text encoders."""
    if components.plan.kind == "cpu":
        return
    for module in filter(None, (components.vae, components.text_encoder, components.text_encoder_2)):
        module.to("cpu")
    gc.collect()
    torch.cuda.empty_cache()


def out_of_memory_while_training(plan: TrainPlan, *, gradient_checkpointing: bool) -> AbstractContextManager[None]:
    """Turn an out-of-memory error inside the context into a `DeviceError` with options that lower memory."""
    frames = counted(plan.config.data.num_frames, "frame")
    return out_of_memory_as_device_error(
        f"training on {counted(plan.config.batch, 'clip')} of {frames} at a time",
        plan.device.device,
        hint=remedies(plan.config, plan.device.torch_dtype, gradient_checkpointing=gradient_checkpointing),
    )
