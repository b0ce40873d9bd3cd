"""Choose how the networks of a clip run faster: kernels, a CUDA graph, compiled blocks."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.flops import UNetCost
from animdiff_cli.diffusion.kernels import install, native
from animdiff_cli.diffusion.kernels.trial import obstacle, remedy
from animdiff_cli.diffusion.text_encoders import Report, ignore_report
from animdiff_cli.diffusion.weight_store import moves_weights
from animdiff_cli.errors import DeviceError
from animdiff_cli.motion.spec import MotionSpec

#: Below, launching the kernels of a UNet call takes longer than running them: an H100 runs 210 TFLOP/s at SD1.5 size,
#: and launches take 56 ms for a UNet of one layer per block (`benchmarks/results/generate.jsonl`).
GRAPH_FLOPS = 10e12
MIN_CALLS = 4  # the first call of a clip runs as usual, the second is recorded
COMPILERS = ("c++", "g++", "clang++")


def check_speed(config: GenerateConfig, plan: DevicePlan) -> None:
    """Raise `DeviceError` for what the device does not support."""
    if config.cuda_graph == "on" and plan.kind != "cuda":
        raise DeviceError("`cuda_graph` needs CUDA", hint="leave it out, or add `--device cuda`")
    if config.compile != "on":
        return
    if plan.kind == "cuda" and (why := obstacle(plan.device, plan.torch_dtype)):
        raise DeviceError(f"`--compile on` needs Triton: {why}", hint=f"{remedy(why)}, or leave `--compile on` out")
    if plan.kind == "cpu" and not any(map(shutil.which, COMPILERS)):
        raise DeviceError("`--compile on` needs a C++ compiler", hint="install g++, or leave `--compile on` out")


@contextmanager
def faster(config: GenerateConfig, *networks: nn.Module, report: Report = ignore_report) -> Iterator[None]:
    """Run networks with the kernels and compiled blocks that `config` chooses inside this context.

    `report` receives a note if the kernels do not work on this machine.

    `auto` does not compile: on a CPU it does not pay, and on a GPU it is not measured.
    """
    with ExitStack() as stack:
        if config.kernels:
            stack.enter_context(install(*networks, report=report))
        if config.compile == "on":
            from animdiff_cli.diffusion.kernels.compiled import compiled_blocks  # the compiler is slow to import

            stack.enter_context(compiled_blocks(*networks))
        yield


def cpu_arithmetic(config: GenerateConfig, plan: DevicePlan) -> str | None:
    """Name what computes the layers of a clip on a CPU: `avx512` or `avx2` for this program's C++, or `torch`."""
    if plan.kind != "cpu":
        return None
    return native.arithmetic() if config.kernels else "torch"


def uses_graphs(config: GenerateConfig, unet: Any, motion: MotionSpec | None, num_frames: int) -> bool:
    """Return whether calls of `num_frames` frames are to be replayed as CUDA graphs."""
    if unet.device.type != "cuda" or config.cuda_graph == "off" or is_offloaded(unet):
        return False
    rows = 2 if config.has_guidance else 1
    cost = UNetCost(unet.config, motion, config.height // 8, config.width // 8, rows)
    is_small = cost.call(num_frames) < GRAPH_FLOPS
    return config.cuda_graph == "on" or (is_small and config.steps_taken >= MIN_CALLS)


def is_offloaded(network: nn.Module) -> bool:
    """Whether weights move to the device while the network runs, by our hooks or those of accelerate or diffusers."""
    hooked = (layer.__dict__ for layer in network.modules())
    return moves_weights(network) or any("_hf_hook" in own or "_diffusers_hook" in own for own in hooked)
