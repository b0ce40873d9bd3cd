"""Measure time, memory and floating-point operations."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from animdiff_cli.motion import MotionModule, plug
from benchmarks.contenders import Contender, Shape, now
from benchmarks.sizes import SIZES, Parts


@dataclass(slots=True)
class Timing:
    """Timing of one clip of one contender. Times in seconds; memory in bytes above what is resident, 0 if unknown.

    `frames` are what it rendered.
    """

    steps: list[float] = field(default_factory=list)
    end_to_end: float = 0.0
    decode: float = 0.0
    peak_bytes: int = 0
    frames: Any = None

    @property
    def per_step(self) -> float:
        """Median time of a step, without the first one, which includes warm-up."""
        return statistics.median(self.steps[1:] or self.steps)


def time_clip(contender: Contender, shape: Shape) -> Timing:
    """Render one clip and time each step."""
    timing, cuda = Timing(), torch.cuda.is_available()
    resident = torch.cuda.memory_allocated() if cuda else 0
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    began = last = now()
    denoised = began

    def on_step() -> None:
        nonlocal last
        moment = now()
        timing.steps.append(moment - last)
        last = moment

    def on_denoised() -> None:
        nonlocal denoised
        denoised = now()

    timing.frames = contender.render(shape, on_step, on_denoised)
    ended = now()
    timing.end_to_end, timing.decode = ended - began, ended - denoised
    timing.peak_bytes = torch.cuda.max_memory_allocated() - resident if cuda else 0
    return timing


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the operations per second of a large square matrix product, the upper bound."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    rates = []
    for _ in range(8):
        began = now()
        a @ b
        rates.append(2 * side**3 / (now() - began))
    return statistics.median(rates[3:])


def operations_per_step(name: str, parts: Parts, shape: Shape) -> int:
    """Count the floating-point operations of one UNet call, including motion module and guidance, on meta tensors."""
    batch = shape.num_frames * (2 if shape.guidance_scale > 1 else 1)
    with torch.device("meta"), torch.no_grad():
        unet = UNet2DConditionModel.from_config(parts.unet.config)
        motion = MotionModule(parts.motion.spec).to("meta")
        motion = plug(unet, motion)
        latents = torch.empty(batch, 4, shape.size // 8, shape.size // 8)
        text, pooled = torch.empty(batch, 77, SIZES[name].text), torch.empty(batch, SIZES[name].text_2)
        added = {"text_embeds": pooled, "time_ids": torch.empty(batch, 6)} if SIZES[name].text_2 else None
        with FlopCounterMode(display=False) as counter, motion.frames(shape.num_frames):
            unet(latents, torch.zeros(batch), encoder_hidden_states=text, added_cond_kwargs=added)
    return counter.get_total_flops()


def milliseconds(run: Callable[[], object]) -> float:
    """Return the median time of ten runs, after three that are not counted."""
    for _ in range(3):
        run()
    times = []
    for _ in range(10):
        began = now()
        run()
        times.append(1000 * (now() - began))
    return statistics.median(times)
