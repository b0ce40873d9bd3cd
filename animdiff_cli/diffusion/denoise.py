"""The denoising loop: from noise to the latents of a clip."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from animdiff_cli.diffusion.conditions.condition import ClipStart, Condition, StepEnd
from animdiff_cli.diffusion.predictors import Predictor

OnStep = Callable[[int, int, Tensor], None]  # (steps done, steps in total, latents after the step)


@torch.no_grad()
def denoise(
    predict: Predictor,
    scheduler: Any,
    latents: Tensor,
    *,
    generator: torch.Generator,
    conditions: Sequence[Condition] = (),
    on_step: OnStep = lambda done, total, latents: None,
    first: int = 0,
    without_guidance: Predictor | None = None,
) -> Tensor:
    """Denoise `latents` [1, 4, F, h, w] along `scheduler.timesteps`, which `set_timesteps` has set, from `first` on.

    Latents keep their dtype between steps whatever the UNet computes in. `conditions` change them before the
    first step and after every step.
    Raises `ValueError` for more than one clip.
    """
    if len(latents) != 1:
        raise ValueError(f"denoise takes one clip [1, 4, F, h, w], got {list(latents.shape)}")
    accepts_generator = "generator" in inspect.signature(scheduler.step).parameters
    step_kwargs = {"generator": generator} if accepts_generator else {}
    timesteps = scheduler.timesteps[first:]
    total = len(timesteps)
    if first and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    start = ClipStart(timesteps, scheduler, without_guidance or predict)
    for condition in conditions:
        latents = condition.begin(latents, start)
    for step, timestep in enumerate(timesteps):
        prediction = predict(scheduler.scale_model_input(latents, timestep), timestep, step)
        latents = scheduler.step(prediction, timestep, latents, return_dict=False, **step_kwargs)[0]
        following = timesteps[step + 1] if step + 1 < total else None
        for condition in conditions:
            latents = condition.amend(latents, StepEnd(step, timestep, following, scheduler))
        on_step(step + 1, total, latents)
    return latents
