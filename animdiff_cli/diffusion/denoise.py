"""The denoising loop: from noise to the latents of a clip."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from animdiff_cli.diffusion.conditions.condition import Condition, StepEnd
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
) -> Tensor:
    """Denoise `latents` [1, 4, F, h, w] along `scheduler.timesteps`, which `set_timesteps` has set.

    Latents keep their dtype between steps whatever the UNet computes in. `conditions` change them before the
    first step and after every step.
    Raises `ValueError` for more than one clip.
    """
    if len(latents) != 1:
        raise ValueError(f"denoise takes one clip [1, 4, F, h, w], got {list(latents.shape)}")
    accepts_generator = "generator" in inspect.signature(scheduler.step).parameters
    step_kwargs = {"generator": generator} if accepts_generator else {}
    total = len(scheduler.timesteps)
    for condition in conditions:
        latents = condition.begin(latents, scheduler)
    for step, timestep in enumerate(scheduler.timesteps):
        prediction = predict(scheduler.scale_model_input(latents, timestep), timestep, step)
        latents = scheduler.step(prediction, timestep, latents, return_dict=False, **step_kwargs)[0]
        following = scheduler.timesteps[step + 1] if step + 1 < total else None
        for condition in conditions:
            latents = condition.amend(latents, StepEnd(step, timestep, following, scheduler))
        on_step(step + 1, total, latents)
    return latents
