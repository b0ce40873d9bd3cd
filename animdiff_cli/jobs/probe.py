"""Time one UNet call of a planned clip, and the decoding of a few frames, without rendering it."""

import time
from contextlib import suppress

import torch

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.events import Emit, Event, StepDone, WindowDone, ignore
from animdiff_cli.diffusion.decode import CHUNK_SIZE, decode_chunks
from animdiff_cli.jobs.animator import Animator
from animdiff_cli.jobs.cost import count_cost
from animdiff_cli.jobs.rates import Rate, machine_name, remember_rate
from animdiff_cli.jobs.render import load_planned
from animdiff_cli.jobs.render_plan import RenderPlan


class _FirstCallDone(Exception):
    """Ends a render after its first UNet call."""


def probe(plan: RenderPlan, emit: Emit = ignore) -> Rate:
    """Load the weights of a plan, time one UNet call of its first clip, and keep the rate. Raises as a render.

    The time to write files is not in it; later renders replace the rate.
    """
    assert plan.weights
    config = plan.configs[0]
    cost = count_cost(config, plan.weights, plan.device)  # while the files are open
    began = time.monotonic()
    animator = load_planned(plan, emit)
    _time_first_call(animator, config, emit)
    setup_seconds = time.monotonic() - began
    first_seconds = _time_first_call(animator, config, ignore)  # the first also prepared kernels
    call_seconds = first_seconds * cost.call_flops * cost.first_step_calls / cost.first_step_flops
    rate = Rate(
        machine=machine_name(plan.device),
        frames=cost.call_frames,
        call_flops=cost.call_flops,
        call_seconds=call_seconds,
        frame_flops=cost.frame_flops,
        frame_seconds=_time_decoding(animator, config),
        weight_bytes=cost.weight_bytes,
        setup_seconds=max(setup_seconds - first_seconds, 1e-3),
    )
    remember_rate(rate)
    return rate


def _time_first_call(animator: Animator, config: GenerateConfig, emit: Emit) -> float:
    """Render until the first UNet call is done; return the seconds, which include encoding the prompt."""

    def stop(event: Event) -> None:
        if isinstance(event, (StepDone, WindowDone)):
            _wait_for(animator)
            raise _FirstCallDone
        emit(event)

    began = time.monotonic()
    with suppress(_FirstCallDone):
        animator.render(config, stop)
    return time.monotonic() - began


def _time_decoding(animator: Animator, config: GenerateConfig) -> float:
    """Return the seconds to decode one frame: of noise, in a chunk like that of a clip."""
    frames = min(CHUNK_SIZE, config.num_frames)
    latents = torch.randn(1, 4, frames, config.height // 8, config.width // 8)
    for _ in range(2):
        began = time.monotonic()
        list(decode_chunks(animator.components.vae, latents))  # pixels on the CPU: the device is done
    return (time.monotonic() - began) / frames


def _wait_for(animator: Animator) -> None:
    """Wait until a GPU is done with what is queued."""
    if animator.components.plan.kind == "cuda":
        torch.cuda.synchronize(animator.components.plan.device)
