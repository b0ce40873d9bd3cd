"""What a clip takes, counted before it is rendered: windows, UNet calls, operations, memory and time."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

from animdiff_cli.config.input_settings import ControlEntry, ImagePromptEntry
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.curves import series
from animdiff_cli.core.guidance import Guidance
from animdiff_cli.core.memory_levels import UNITS, MemoryNeed
from animdiff_cli.core.reuse import ReuseSchedule, first_of_interval, reuse_interval
from animdiff_cli.core.text import counted
from animdiff_cli.core.where import frames_at
from animdiff_cli.core.windows import Windows
from animdiff_cli.diffusion.build import part_config
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.flops import TEXT_TOKENS, UNetCost, decoding_flops
from animdiff_cli.diffusion.memory import activation_bytes, decoding_bytes
from animdiff_cli.diffusion.schedulers import make_scheduler
from animdiff_cli.diffusion.windows import clip_windows, with_windows
from animdiff_cli.jobs.continuation import sampled_config
from animdiff_cli.jobs.rates import Rate
from animdiff_cli.jobs.weight_bytes import count_weights, decoding_dtype
from animdiff_cli.jobs.weights import CheckedWeights


@dataclass(frozen=True, slots=True)
class ClipCost:
    """The counted cost of one clip."""

    windows_per_step: tuple[int, ...]  # of each step of the sampler, over all passes of FreeInit
    calls: int  # of the UNet
    call_frames: int  # in each of them
    call_flops: float  # of one of them, on average
    first_step_calls: int
    first_step_flops: float
    reusing_calls: int  # of the UNet, which reuse its deep layers
    frames: int
    frame_flops: int  # to decode one frame
    weight_bytes: int
    memory_bytes: int  # at the peak, on the device

    @property
    def flops(self) -> float:
        """Operations of the whole clip."""
        return self.calls * self.call_flops + self.frames * self.frame_flops

    def seconds(self, rate: Rate) -> float:
        """Estimate the time without loading."""
        per_call = rate.call_seconds * self.call_flops / rate.call_flops
        per_frame = rate.frame_seconds * self.frame_flops / rate.frame_flops
        return self.calls * per_call + self.frames * per_frame


def planned_windows(
    config: GenerateConfig, weights: CheckedWeights, plan: DevicePlan
) -> tuple[GenerateConfig, Windows | None]:
    """Return the config of what is sampled, with context settings that are null or `auto` replaced, and its windows."""
    config = sampled_config(config, weights.motion_spec)
    windows = clip_windows(config, weights.motion_spec)
    unet = part_config(weights.files.model, "unet")
    stored = count_weights(weights, plan)
    moved = stored.resident + UNITS * stored.unit
    to_load = {"off": stored.total, "offload": stored.denoiser, "sequential": moved}[plan.level.mode]
    return with_windows(config, windows, unet, plan.torch_dtype, plan.device, to_load=to_load), windows


def count_cost(config: GenerateConfig, weights: CheckedWeights, plan: DevicePlan) -> ClipCost:
    """Count the cost of one clip. Reads configs and headers only."""
    new_frames = config.num_frames
    config, windows = planned_windows(config, weights, plan)
    around = windows if config.context_mode != "plug" else None
    passes, frames = max(1, config.free_init), config.num_frames
    by_step = planned_calls(config, windows, num_new=new_frames)
    calls = [call for of_step in by_step for call in of_step]
    unet, vae = networks(config, weights)
    flops = {call: call_flops(call, unet, config, weights) for call in dict.fromkeys(calls)}
    call_frames = around.length if around else frames
    window = windows.length if windows else frames
    kept = kept_bytes(unet, config, plan) if not around or plan.kind == "cpu" else 0
    return ClipCost(
        windows_per_step=tuple(len(of_step) if around else len(of_step[0].windows) for of_step in by_step) * passes,
        calls=len(calls) * passes,
        call_frames=call_frames,
        call_flops=sum(flops[call] for call in calls) / len(calls),
        first_step_calls=len(by_step[0]),
        first_step_flops=sum(flops[call] for call in by_step[0]),
        reusing_calls=sum(not call.is_deep for call in calls) * passes,
        frames=new_frames,
        frame_flops=decoding_flops(vae, unet.height, unet.width),
        weight_bytes=count_weights(weights, plan).total,
        memory_bytes=kept + memory_need(unet, vae, weights, plan, call_frames, window).of(plan.level),
    )


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call of the UNet. `windows` are the lengths of those in it."""

    frames: int
    windows: tuple[int, ...]
    rows: int  # of guidance
    is_deep: bool  # its deep layers run


def planned_calls(config: GenerateConfig, windows: Windows | None, *, num_new: int) -> list[list[PlannedCall]]:
    """Return the UNet calls of every step of one pass. Of the frames of `config`, the last `num_new` are new."""
    steps, frames, interval = num_steps(config), config.num_frames, reuse_interval(config.cache)
    timeline = replace(config.timeline, num_frames=num_new, num_known=frames - num_new, calls=steps)
    guidance = Guidance(series(config.guidance_scale, timeline), config.guidance_until, steps)
    reuse = ReuseSchedule(interval)

    def call(step: int, of_call: Sequence[int], lengths: tuple[int, ...]) -> PlannedCall:
        rows = guidance.rows(of_call, step)
        return PlannedCall(len(of_call), lengths, rows, reuse.is_deep(tuple(of_call), step, rows))

    by_step = []
    for step in range(steps):
        if windows is None or config.context_mode == "plug":
            lengths = tuple(len(window.frames) for window in windows.at(step, steps)) if windows else (frames,)
            by_step.append([call(step, range(frames), lengths)])
        else:
            of_step = windows.at(first_of_interval(step, interval), steps)
            by_step.append([call(step, window.frames, (len(window.frames),)) for window in of_step])
    return by_step


def call_flops(call: PlannedCall, unet: UNetCost, config: GenerateConfig, weights: CheckedWeights) -> int:
    """Count one call of the UNet with what controls add, on average."""
    own = replace(unet, rows=call.rows).call_in_windows(call.frames, call.windows, is_deep=call.is_deep)
    return own + (control_flops(config, weights, call.frames, call.rows) if call.is_deep else 0)


def kept_bytes(unet: UNetCost, config: GenerateConfig, plan: DevicePlan) -> int:
    """Return the bytes of deep layers that are kept for reuse, of one window of each frame."""
    channels = unet.config["block_out_channels"][0]  # of the input of the last layer
    kept = unet.rows * config.num_frames * channels * unet.height * unet.width * plan.torch_dtype.itemsize
    return int(kept) if reuse_interval(config.cache) > 1 else 0


def count_need(config: GenerateConfig, weights: CheckedWeights, plan: DevicePlan) -> MemoryNeed:
    """Count the memory of a clip by what can be reduced. Of context modes, that with less memory if it may choose."""
    config = sampled_config(config, weights.motion_spec)
    windows = clip_windows(config, weights.motion_spec)
    unet, vae = networks(config, weights)
    window = windows.length if windows else config.num_frames
    frames = config.num_frames if config.context_mode == "plug" else window
    return memory_need(unet, vae, weights, plan, frames, window)


def networks(config: GenerateConfig, weights: CheckedWeights) -> tuple[UNetCost, Mapping[str, Any]]:
    """Return the UNet as its cost is counted, and the config of the VAE."""
    unet = with_defaults(UNet2DConditionModel, part_config(weights.files.model, "unet"))
    vae = weights.patches.vae.config if weights.patches.vae else part_config(weights.files.model, "vae")
    rows = 2 if config.has_guidance else 1
    modules = len(weights.mixed_motion) or 1
    size = config.height // 8, config.width // 8
    others = picture_tokens(config, weights) + len(config.regions) * TEXT_TOKENS / rows
    cost = UNetCost(unet, weights.motion_spec, *size, rows, motion_modules=modules, other_tokens=others)
    return cost, with_defaults(AutoencoderKL, vae)


def control_flops(config: GenerateConfig, weights: CheckedWeights, num_frames: int, rows: int) -> int:
    """Count what controls add to a UNet call, on average over the steps and frames that they act in."""
    total, size = 0.0, (config.height // 8, config.width // 8)
    once: set[object] = set()  # pictures of one SparseCtrl are seen at once
    for value, file in zip(config.controls, weights.controls, strict=True):
        entry = ControlEntry.read(value)
        strength = file.path, repr(entry.scale), entry.start, entry.end
        if file.spec and strength in once:
            continue
        once.add(strength)
        share = entry.end - entry.start
        if entry.frames and not file.spec:
            share *= len(frames_at(entry.frames, config.num_frames, config.fps)) / config.num_frames
        encoder = with_defaults(ControlNetModel, file.config)
        total += share * UNetCost(encoder, file.spec, *size, rows).call(num_frames)
    return round(total)


def picture_tokens(config: GenerateConfig, weights: CheckedWeights) -> float:
    """Count the tokens of image prompts, on average over the steps that they act in.

    Encoding pictures is left out: it happens once per clip.
    """
    total = 0.0
    for value, adapter in zip(config.image_prompts, weights.image_prompts, strict=True):
        entry, encoder = ImagePromptEntry.read(value), weights.image_encoder
        assert encoder
        patches = (encoder.config["image_size"] // encoder.config["patch_size"]) ** 2
        total += (entry.end - entry.start) * adapter.weights.config.get("num_tokens", patches + 1)
    return total


def memory_need(
    unet: UNetCost, vae: Mapping[str, Any], weights: CheckedWeights, plan: DevicePlan, frames: int, window: int
) -> MemoryNeed:
    """Count weights and activations for UNet calls of `frames` frames, with temporal layers in windows."""
    # kernels of CPUs compute half precision in float32 in part
    is_cpu = plan.kind == "cpu"
    dtype = torch.float32 if is_cpu else plan.torch_dtype
    decoding = torch.float32 if is_cpu else decoding_dtype(weights, plan)
    size = unet.height, unet.width
    activations = partial(
        activation_bytes, unet.config, size, dtype, images=unet.rows * frames, window=unet.rows * window
    )
    across_frames = bool(unet.motion and unet.motion.traits.resnet_norms_across_frames)
    stored = count_weights(weights, plan)
    return MemoryNeed(
        denoiser=stored.denoiser,
        resident=stored.resident,
        others=stored.others,
        vae=stored.vae,
        unit=stored.unit,
        is_compressed=plan.weights_dtype == "fp8",
        activations=activations(),
        grouped=activations(grouped=True, norms_across_frames=across_frames),
        frame=decoding_bytes(vae, size, decoding, images=1),
        latent_side=max(size),
        frames=frames,
    )


def num_steps(config: GenerateConfig) -> int:
    """Return how often the sampler calls the predictor in one pass: Heun, for example, calls it twice in most steps."""
    scheduler = make_scheduler(config.scheduler, timestep_spacing=config.timestep_spacing)
    scheduler.set_timesteps(config.steps)
    return len(scheduler.timesteps) - (config.steps - config.steps_taken) * int(scheduler.order)


def unused_shortcuts(config: GenerateConfig) -> list[str]:
    """Return notes on `cache` and `guidance_until` where a pass has too few steps to leave anything out."""
    if not config.inexact:
        return []
    steps, notes = num_steps(config), []
    if "cache" in config.inexact and steps == 1:
        notes.append(f"`cache: {config.cache}` has no effect on a single step")
    share = config.guidance_until
    if (
        "guidance_until" in config.inexact
        and Guidance(series(2.0, config.timeline), share, steps).rows([0], steps - 1) > 1
    ):
        notes.append(
            f"`guidance_until: {share:g}` has no effect: the last of {counted(steps, 'step')} begins before it"
        )
    return notes


def with_defaults(network: type, config: Mapping[str, Any]) -> dict[str, Any]:
    """Add what a config leaves out: the defaults of diffusers."""
    parameters = inspect.signature(network.__init__).parameters.values()  # type: ignore[misc]  # any class
    return {p.name: p.default for p in parameters if p.default is not p.empty} | dict(config)
