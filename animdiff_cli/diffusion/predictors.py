"""Predictors: what a sampler calls for the noise in a clip. Predictors wrap predictors.

A new way to run the UNet over a clip (context windows, guidance that varies by step) is one more small function
here: it takes a predictor and returns one.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from animdiff_cli.core.guidance import Guidance
from animdiff_cli.core.reuse import first_of_interval
from animdiff_cli.core.windows import Windows
from animdiff_cli.diffusion.conditions.condition import Condition, UNetCall, contributions, recording_key
from animdiff_cli.diffusion.cuda_graphs import CudaGraphs
from animdiff_cli.diffusion.deep_cache import DeepCache
from animdiff_cli.diffusion.low_vram import LowVram, with_less_memory
from animdiff_cli.diffusion.text_encoders import Report
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


class RowsPredictor(Protocol):
    """Predict as `Predictor`, for some rows of classifier-free guidance."""

    def __call__(
        self, latents: Tensor, timestep: Tensor, step: int, frames: Sequence[int] | None = None, rows: int | None = None
    ) -> Tensor:
        """Return [rows, 4, F, h, w]: all rows of the conditions, or the last `rows` of them. The last is with text."""


def unet_predictor(
    unet: UNet,
    conditions: Sequence[Condition],
    *,
    rows: int = 1,
    windows: Windows | None = None,
    num_steps: int = 1,
    cache: DeepCache | None = None,
    graphs: CudaGraphs | None = None,
) -> RowsPredictor:
    """Predict by one call of `unet` for all given frames, with every condition's contribution.

    With a motion module plugged in, the frames move together; without one they are F stills. `rows` is used where a
    call does not say how many. With `windows`, temporal transformers see the frames of the whole clip a window at a
    time. With `cache`, deep layers run in some calls only; else `graphs` of the UNet record calls and replay them.
    Raises `UsageError` if the motion module supports fewer frames.
    """
    usual_rows = rows

    def predict(
        latents: Tensor, timestep: Tensor, step: int, frames: Sequence[int] | None = None, rows: int | None = None
    ) -> Tensor:
        num_frames, rows = latents.shape[2], rows or usual_rows
        frames = frames or range(num_frames)
        of_step = windows.at(step, num_steps) if windows else ()
        is_deep = cache is None or cache.is_deep(frames, step, rows)
        call = UNetCall(latents, frames, timestep, step, rows, of_step, is_deep)
        batch = call.batch()
        unet_kwargs = contributions(conditions, call)
        if (extra_channels := unet_kwargs.pop("extra_channels", None)) is not None:
            batch = torch.cat([batch, extra_channels], dim=1)
        attached, batch = plugged(unet), batch.to(unet.dtype)
        with attached.motion.frames(num_frames, of_step) if attached else nullcontext():
            if cache:
                output = cache(batch, call, unet_kwargs)
            elif graphs:
                output = graphs(batch, timestep, unet_kwargs, recording_key(conditions, call))
            else:
                output = unet(batch, timestep, **unet_kwargs, return_dict=False)[0]
        predicted: Tensor = output.to(latents.dtype)
        return predicted.view(rows, num_frames, *predicted.shape[1:]).transpose(1, 2)

    return predict


def guided(predict: RowsPredictor, guidance: Guidance) -> Predictor:
    """Apply classifier-free guidance (Ho & Salimans 2022) to a predictor of two rows, the unconditional one first.

    Where the scale of all frames of a call is 1 or less, only the row with text runs.
    """

    def predict_guided(latents: Tensor, timestep: Tensor, step: int, frames: Sequence[int] | None = None) -> Tensor:
        in_clip = frames or range(latents.shape[2])
        if guidance.rows(in_clip, step) == 1:
            return predict(latents, timestep, step, frames, rows=1)
        noise_uncond, noise_text = predict(latents, timestep, step, frames, rows=2).chunk(2)
        amount = guidance.at(in_clip, step)
        if isinstance(amount, float):
            return noise_uncond + amount * (noise_text - noise_uncond)
        by_frame = latents.new_tensor([max(value, 1.0) for value in amount])[:, None, None]
        return noise_uncond + by_frame * (noise_text - noise_uncond)

    return predict_guided


def stepping_down(predict: Predictor, low_vram: LowVram | None, report: Report) -> Predictor:
    """Predict again with less memory if it runs out. The sampler notices nothing: latents and noise are the same."""
    if low_vram is None:
        return predict

    def predict_again(latents: Tensor, timestep: Tensor, step: int, frames: Sequence[int] | None = None) -> Tensor:
        compute = partial(predict, latents, timestep, step, frames)
        return with_less_memory(compute, low_vram, "denoising", doing=f"continuing with step {step + 1}", report=report)

    return predict_again


def windowed(
    predict: Predictor,
    windows: Windows,
    num_steps: int,
    device: torch.device,
    *,
    on_window: OnWindow = lambda step, done, total: None,
    interval: int = 1,
) -> Predictor:
    """Predict window by window, and average where windows overlap.

    `interval` steps in a row have the windows of the first of them. Latents and the average stay where they are, on the
    CPU for example; one window at a time is on `device`. So memory there does not grow with the length of the clip.
    """

    def predict_windows(latents: Tensor, timestep: Tensor, step: int, frames: Sequence[int] | None = None) -> Tensor:
        fused = torch.zeros_like(latents)
        of_step = windows.at(first_of_interval(step, interval), num_steps)
        for done, window in enumerate(of_step, start=1):
            places = torch.tensor(window.frames, device=latents.device)
            in_clip = window.frames if frames is None else [frames[place] for place in window.frames]
            part = predict(latents[:, :, places].to(device), timestep, step, in_clip).to(latents)
            shares = torch.tensor(window.shares, dtype=latents.dtype, device=latents.device)
            fused.index_add_(2, places, part * shares[:, None, None])
            on_window(step, done, len(of_step))
        return fused

    return predict_windows
