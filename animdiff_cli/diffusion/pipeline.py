"""The method on one page: encode prompts, draw noise, choose the timesteps, denoise, decode.

AnimateDiff (ICLR 2024) renders with an ordinary Stable Diffusion loop; the motion module plugged into the UNet makes
the frames of a clip move together. Renders, sample clips of a training and benchmarks all call these functions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.choices import PromptSyntax
from animdiff_cli.core.curves import series
from animdiff_cli.core.guidance import Guidance
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.core.reuse import reuse_interval
from animdiff_cli.core.where import Timeline
from animdiff_cli.core.windows import Windows
from animdiff_cli.diffusion.conditions import (
    ClipContext,
    Condition,
    LoraCondition,
    MotionScaleCondition,
    MotionWeightsCondition,
    PromptCondition,
    PromptTravelCondition,
    SdxlCondition,
    prepared,
    size_ids,
)
from animdiff_cli.diffusion.cuda_graphs import CudaGraphs
from animdiff_cli.diffusion.decode import Vae, decode_chunks
from animdiff_cli.diffusion.deep_cache import DeepCache
from animdiff_cli.diffusion.denoise import denoise
from animdiff_cli.diffusion.frame_texts import FrameTexts
from animdiff_cli.diffusion.free_init import LowPass, mixed_noise
from animdiff_cli.diffusion.low_vram import LowVram, with_less_memory
from animdiff_cli.diffusion.noise import free_noise, initial_noise, seeded_generator
from animdiff_cli.diffusion.predictors import Predictor, guided, stepping_down, unet_predictor, windowed
from animdiff_cli.diffusion.prompt_rows import encode_rows
from animdiff_cli.diffusion.schedulers import BETA_END, make_scheduler
from animdiff_cli.diffusion.text_encoders import PromptEmbeds, Report, ignore_report
from animdiff_cli.diffusion.windows import clip_windows, resolve_windows
from animdiff_cli.motion import plugged
from animdiff_cli.motion.beside import BesideLora
from animdiff_cli.motion.unet import UNet


class EncodePrompt(Protocol):
    """Encode one prompt for the UNet. None is the unconditional prompt."""

    def __call__(self, prompt: str | None, *, clip_skip: int, syntax: PromptSyntax) -> PromptEmbeds: ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The networks of one image model, ready to render; a motion module may be plugged into `unet`."""

    unet: UNet
    vae: Vae
    encode: EncodePrompt
    conditions: tuple[Condition, ...] = ()  # beside the prompt
    loras: tuple[BesideLora, ...] = ()  # those whose scale varies
    graphs: bool = False  # replay UNet calls as CUDA graphs where that is possible
    low_vram: LowVram | None = None  # where the weights rest


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Functions to call while a clip is rendered."""

    on_step: Callable[[int, int, Tensor], None] = lambda done, total, latents: None
    #: (steps before this pass, steps in total, step of this pass from 0, windows done, windows of the step)
    on_window: Callable[[int, int, int, int, int], None] = lambda before, steps, step, done, total: None
    on_decoded: Callable[[int, int], None] = lambda done, total: None
    report: Report = ignore_report  # receives notes for the user


SILENT = Callbacks()


def render(
    pipe: Pipeline,
    config: GenerateConfig,
    callbacks: Callbacks = SILENT,
    *,
    noise: Tensor | None = None,
    num_known: int = 0,
) -> Iterator[NDArray[np.uint8]]:
    """Render one clip: yield its frames in chunks, uint8 [f, H, W, 3]. Takes `noise` as `sample_latents` does.

    The first `num_known` frames are sampled and left out.

    Raises `DeviceError` if latents overflow.
    """
    sample = partial(sample_latents, pipe, config, callbacks, noise=noise, num_known=num_known)
    # what conditions prepare may need memory too
    doing = "beginning the clip again"
    latents = with_less_memory(sample, pipe.low_vram, "denoising", doing=doing, report=callbacks.report)
    if pipe.low_vram:
        pipe.low_vram.without_denoiser()
    return decode_chunks(
        pipe.vae,
        latents[:, :, num_known:],
        on_decoded=callbacks.on_decoded,
        report=callbacks.report,
        low_vram=pipe.low_vram,
    )


@torch.no_grad()
def sample_latents(
    pipe: Pipeline,
    config: GenerateConfig,
    callbacks: Callbacks = SILENT,
    *,
    noise: Tensor | None = None,
    num_known: int = 0,
) -> Tensor:
    """Sample the latents of one clip, [1, 4, F, H/8, W/8]: on the UNet's device, or on the CPU if the UNet is windowed.

    `noise` of that shape and unit variance replaces the noise drawn from `config.seed`. Positions of prompts and curves
    count from the frame after the first `num_known`. The beta schedule and
    prediction type of `config` must be resolved: a name other than `auto`, and null only for `epsilon`.
    """
    config = resolve_windows(config, pipe.unet)
    attached = plugged(pipe.unet)
    windows = clip_windows(config, attached.motion.spec if attached else None)
    around, inside = (windows if config.context_mode == mode else None for mode in ("unet", "plug"))
    generator = seeded_generator(config.seed)
    if noise is None:
        noise = draw_noise(generator, config, windows)
    scheduler = make_scheduler(
        config.scheduler,
        config.beta_schedule,
        config.prediction_type or "epsilon",
        beta_end=config.beta_end or BETA_END,
        timestep_spacing=config.timestep_spacing,
        rescale_betas_zero_snr=bool(config.rescale_betas_zero_snr),
    )
    latents, passes = noise, max(1, config.free_init)
    scheduler.set_timesteps(config.steps)
    first = (config.steps - config.steps_taken) * scheduler.order
    calls = len(scheduler.timesteps) - first
    new_frames = config.num_frames - num_known
    timeline = replace(config.timeline, num_frames=new_frames, num_known=num_known, calls=calls)
    text, others = text_conditions(pipe, config, timeline), other_conditions(pipe, config, timeline)
    latents_device = torch.device("cpu") if around else pipe.unet.device
    rows = 2 if config.has_guidance else 1
    clip = ClipContext(timeline, rows, noise, latents_device, text)
    with prepared([*text, *others], pipe.unet, clip) as ready:
        if pipe.low_vram:
            pipe.low_vram.without_encoders()
        without_guidance: Predictor = unet_predictor(pipe.unet, ready, windows=inside, num_steps=calls)
        interval = reuse_interval(config.cache)
        cache = DeepCache(pipe.unet, interval, latents_device) if interval > 1 else None
        graphs = CudaGraphs(pipe.unet, report=callbacks.report) if pipe.graphs and not cache else None
        of_rows = unet_predictor(pipe.unet, ready, windows=inside, num_steps=calls, cache=cache, graphs=graphs)
        guidance = Guidance(series(config.guidance_scale, timeline), config.guidance_until, calls)
        # a call that fails half-way must not count for the cache: then the whole clip begins again
        low_vram = None if cache else pipe.low_vram
        predict = stepping_down(guided(of_rows, guidance), low_vram, callbacks.report)
        for number in range(passes):
            begin = noise
            if number:  # FreeInit
                alpha_cumprod = float(scheduler.alphas_cumprod[-1])
                fresh = draw_noise(generator, config, windows)
                begin = mixed_noise(latents, noise, fresh, alpha_cumprod, low_pass(config))
            scheduler.set_timesteps(config.steps, device=latents_device)
            latents = begin.to(latents_device) * scheduler.init_noise_sigma
            on_step = partial(_on_step_of_pass, callbacks.on_step, number, passes)
            denoiser, plain = predict, without_guidance
            if around:
                on_window = partial(callbacks.on_window, number * calls, passes * calls)
                denoiser = windowed(predict, around, calls, pipe.unet.device, on_window=on_window, interval=interval)
                plain = windowed(without_guidance, around, calls, pipe.unet.device)
            latents = denoise(
                denoiser,
                scheduler,
                latents,
                generator=generator,
                conditions=ready,
                on_step=on_step,
                first=first,
                without_guidance=plain,
            )
        return latents


def draw_noise(generator: torch.Generator, config: GenerateConfig, windows: Windows | None) -> Tensor:
    """Draw the noise of a clip, float32 [1, 4, F, H/8, W/8]. That of FreeNoise wraps where its windows do."""
    shape = config.num_frames, config.height // 8, config.width // 8
    if windows is None or config.noise_schedule == "random":
        return initial_noise(generator, *shape)
    stride = windows.length - windows.overlap
    wraps = windows.schedule == "looped"
    return free_noise(generator, *shape, context_length=windows.length, stride=stride, loop=wraps)


def low_pass(config: GenerateConfig) -> LowPass:
    """Return the filter of FreeInit."""
    return LowPass(
        config.free_init_filter,
        config.free_init_spatial_cutoff,
        config.free_init_temporal_cutoff,
        config.free_init_order,
    )


def _on_step_of_pass(
    on_step: Callable[[int, int, Tensor], None], number: int, passes: int, done: int, total: int, latents: Tensor
) -> None:
    """Count the steps of all passes. `number` counts from 0."""
    on_step(number * total + done, passes * total, latents)


def text_conditions(pipe: Pipeline, config: GenerateConfig, timeline: Timeline | None = None) -> list[Condition]:
    """Encode the prompt, and before it the negative prompt if guidance is on.

    `timeline` counts the calls of the predictor; by default one per step.
    """
    timeline = timeline or config.timeline
    encode = partial(pipe.encode, clip_skip=config.clip_skip, syntax=config.prompt_syntax)
    rows = encode_rows(encode, config, timeline)
    share = all(condition.keeps_rows_equal for condition in pipe.conditions)
    conditions: list[Condition] = [
        PromptTravelCondition(rows.embeds, share)
        if isinstance(rows.embeds, FrameTexts)
        else PromptCondition(rows.embeds, share)
    ]
    if rows.pooled is not None:
        attached = plugged(pipe.unet)
        sizes = size_ids(config.height, config.width, attached.motion if attached else None)
        conditions.append(SdxlCondition(rows.pooled, sizes))
    return conditions


def other_conditions(pipe: Pipeline, config: GenerateConfig, timeline: Timeline) -> list[Condition]:
    """Return the conditions of settings that may vary, and those of `pipe`."""
    conditions: list[Condition] = [LoraCondition(lora, series(lora.scale, timeline)) for lora in pipe.loras]
    if config.motion_modules:
        scales = [parse_ref(text, scaled=True).scale for text in config.motion_modules]
        weights = [series(1.0 if scale is None else scale, timeline) for scale in scales]
        conditions.append(MotionWeightsCondition(weights))
    if config.motion_scale != 1:
        conditions.append(MotionScaleCondition(series(config.motion_scale, timeline)))
    return [*conditions, *pipe.conditions]
