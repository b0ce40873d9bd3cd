"""Predictors: what a sampler calls for the noise in a clip. Predictors wrap predictors.

A new way to run the UNet over a clip (context windows, guidance that varies by step) is one more small function
here: it takes a predictor and returns one.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor

from animdiff_cli.core.curves import Series
from animdiff_cli.core.windows import Windows
from animdiff_cli.diffusion.conditions.condition import Condition, UNetCall, contributions
from animdiff_cli.motion import plugged
from animdiff_cli.motion.unet import UNet

OnWindow = Callable[[int, int, int], None]  # (step from 0, windows done, windows of the step)


class Predictor(Protocol):
    """Predict the noise (or velocity) in the frames of one clip."""

    def __call__(self, latents: Tensor, timestep: Tensor, step: int, frames: Sequence[int] | None = None) -> Tensor:
        """Return a prediction shaped like `latents` [1, 4, F, h, w].

        `latents` are scaled as the scheduler wants its model input. `step` counts from 0. `frames` are the F indices
        in the clip that `latents` hold; None for the whole clip.
        """


def unet_predictor(
    unet: UNet,
    conditions: Sequence[Condition],
    *,
    rows: int = 1,
    windows: Windows | None = None,
    num_steps: int = 1,
) -> Predictor:
    """Predict by one call of `unet` for all given frames, with every condition's contribution.

    With a motion module plugged in, the frames move together; without one they are F stills. Returns
    [rows, 4, F, h, w]: one prediction per row of the conditions. With `windows`, temporal transformers see the frames
    of the whole clip a window at a time. Raises `UsageError` if the motion module supports fewer frames.
    """

    def predict(latents: Tensor, timestep: Tensor, step: int, frames: Sequence[int] | None = None) -> Tensor:
        num_frames = latents.shape[2]
        of_step = windows.at(step, num_steps) if windows else ()
        call = UNetCall(latents, frames or range(num_frames), timestep, step, rows, of_step)
        batch = call.batch()
        unet_kwargs = contributions(conditions, call)
        if (extra_channels := unet_kwargs.pop("extra_channels", None)) is not None:
            batch = torch.cat([batch, extra_channels], dim=1)
        attached = plugged(unet)
        with attached.motion.frames(num_frames, of_step) if attached else nullcontext():
            output = unet(batch.to(unet.dtype), timestep, **unet_kwargs, return_dict=False)[0]
        predicted: Tensor = output.to(latents.dtype)
        return predicted.view(rows, num_frames, *predicted.shape[1:]).transpose(1, 2)

    return predict


def guided(predict: Predictor, scale: Series) -> Predictor:
    """Apply classifier-free guidance (Ho & Salimans 2022) to a predictor of two rows, the unconditional one first.

    Where `scale` is 1 or less, guidance is off: the result is the prediction with text.
    """

    def predict_guided(latents: Tensor, timestep: Tensor, step: int, frames: Sequence[int] | None = None) -> Tensor:
        noise_uncond, noise_text = predict(latents, timestep, step, frames).chunk(2)
        amount = scale.at(frames or range(latents.shape[2]), step)
        if isinstance(amount, float):
            return noise_text if amount <= 1 else noise_uncond + amount * (noise_text - noise_uncond)
        by_frame = latents.new_tensor([max(value, 1.0) for value in amount])[:, None, None]
        return noise_uncond + by_frame * (noise_text - noise_uncond)

    return predict_guided


def windowed(
    predict: Predictor,
    windows: Windows,
    num_steps: int,
    device: torch.device,
    *,
    on_window: OnWindow = lambda step, done, total: None,
) -> Predictor:
    """Predict window by window, and average where windows overlap.

    Latents and the average stay where they are, on the CPU for example; one window at a time is on `device`. So memory
    there does not grow with the length of the clip.
    """

    def predict_windows(latents: Tensor, timestep: Tensor, step: int, frames: Sequence[int] | None = None) -> Tensor:
        fused = torch.zeros_like(latents)
        of_step = windows.at(step, num_steps)
        for done, window in enumerate(of_step, start=1):
            places = torch.tensor(window.frames, device=latents.device)
            in_clip = window.frames if frames is None else [frames[place] for place in window.frames]
            part = predict(latents[:, :, places].to(device), timestep, step, in_clip).to(latents)
            shares = torch.tensor(window.shares, dtype=latents.dtype, device=latents.device)
            fused.index_add_(2, places, part * shares[:, None, None])
            on_window(step, done, len(of_step))
        return fused

    return predict_windows
