"""Out-of-memory failures as a `DeviceError` with a hint, some of them found before anything is loaded."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch

from animdiff_cli.core.text import counted
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.noise import LATENT_CHANNELS
from animdiff_cli.errors import DeviceError

#: feature maps [block_out_channels[0], h, w] that a UNet holds at once per image of its batch. With attention in the
#: first level: skip connections and the feed-forward of the last spatial transformer. Without: skip connections and a
#: ResNet, and as much again per image of a context window, for the feed-forward of the temporal transformer. Counted
#: from the tensors of SD1.5 (26.1) and SDXL (15.8 with windows of an eighth of the clip, 30.2 with one window).
MAPS, MAPS_WITHOUT_ATTENTION = 27, 16
#: the same with feed-forward layers in groups of images: 15.3, 19.3 with ResNet norms across frames (v1 and PIA), and
#: without attention 18.2 with one window
GROUPED_MAPS, GROUPED_MAPS_ACROSS_FRAMES, GROUPED_MAPS_WITHOUT_ATTENTION = 16, 20, 5

#: messages of torch's out-of-memory errors that have no exception class
_MESSAGES = ("DefaultCPUAllocator: can't allocate memory", "MPS backend out of memory", "CUDA out of memory")

#: feature maps of the second level, upsampled to whole pixels, that a VAE decoder holds at once
DECODER_MAPS = 3


def out_of_memory_while_rendering(
    plan: DevicePlan, width: int, height: int, num_frames: int, *, all_frames_at_once: bool = False
) -> AbstractContextManager[None]:
    """Turn an allocation failure inside this context into a `DeviceError` that names settings to lower.

    `all_frames_at_once`: context windows are inside the UNet.
    """
    return out_of_memory_as_device_error(
        f"rendering {counted(num_frames, 'frame')} of {width}x{height} in {plan.dtype}",
        plan.device,
        hint="use `--context-mode unet`" if all_frames_at_once else _what_to_lower(plan, width, height, num_frames),
    )


@contextmanager
def out_of_memory_as_device_error(work: str, device: torch.device, *, hint: str) -> Iterator[None]:
    """Turn an allocation failure inside this context into a `DeviceError`: out of memory while `work`."""
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError(f"out of memory on {device} while {work}", hint=hint) from error


def require_memory(plan: DevicePlan, width: int, height: int, num_frames: int, *, vae_width: int = 0) -> None:
    """Raise `DeviceError` for a clip that cannot fit into the memory of this machine, whatever the image model.

    Counts the latents before and after a step with the prediction between them, and on a CPU the last activations of
    the VAE decoder, `vae_width` channels for 4 frames. This is a lower bound; less memory may also run out.
    """
    needed = 3 * LATENT_CHANNELS * num_frames * (height // 8) * (width // 8) * torch.float32.itemsize
    if plan.kind == "cpu":
        needed += 2 * vae_width * min(num_frames, 4) * height * width * plan.torch_dtype.itemsize
    memory = total_memory()
    if memory is not None and needed > memory:
        raise DeviceError(
            f"{counted(num_frames, 'frame')} of {width}x{height} need at least {needed / 1e9:.0f} GB of memory, and"
            f" this machine has {memory / 1e9:.0f} GB",
            hint=_what_to_lower(plan, width, height, num_frames),
        )


def activation_bytes(
    unet_config: Mapping[str, Any],
    size: tuple[int, int],
    dtype: torch.dtype,
    *,
    images: int,
    window: int,
    grouped: bool = False,
    norms_across_frames: bool = False,
) -> int:
    """Return the memory of a UNet's activations for a batch of latents of `size`, with temporal layers in windows.

    `window` is the number of images of the batch that one context window holds. `grouped`: feed-forward layers compute
    a few images at a time. `norms_across_frames`: ResNet norms have the statistics of all frames of a window.
    """
    if "CrossAttn" in unet_config["down_block_types"][0]:
        of_groups = GROUPED_MAPS_ACROSS_FRAMES if norms_across_frames else GROUPED_MAPS
        maps = (of_groups if grouped else MAPS) * images
    else:
        in_window = GROUPED_MAPS_WITHOUT_ATTENTION if grouped else MAPS_WITHOUT_ATTENTION
        maps = MAPS_WITHOUT_ATTENTION * images + in_window * window
    return maps * int(unet_config["block_out_channels"][0]) * size[0] * size[1] * dtype.itemsize


def decoding_bytes(vae_config: Mapping[str, Any], size: tuple[int, int], dtype: torch.dtype, *, images: int) -> int:
    """Return the memory of a VAE's activations while it decodes `images` latents of `size` at once."""
    widths = list(vae_config["block_out_channels"])
    pixels: int = size[0] * size[1] * 4 ** (len(widths) - 1)
    return DECODER_MAPS * int(max(widths[:2])) * pixels * images * dtype.itemsize


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that torch can still allocate on a device, on a CPU without swapping; None if unknown."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # not Linux
        return _pages("SC_AVPHYS_PAGES")


def total_memory() -> int | None:
    """Return the bytes of physical memory; None if the system does not report them."""
    return _pages("SC_PHYS_PAGES")


def _pages(name: str) -> int | None:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def program_memory() -> int:
    """Return the largest memory that this process has used so far, in bytes; 0 if the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, in torch or Python."""
    is_known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return is_known or any(message in str(error) for message in _MESSAGES)


def _what_to_lower(plan: DevicePlan, width: int, height: int, num_frames: int) -> str:
    smaller = f"`--width {_shrink(width)} --height {_shrink(height)}`"
    fewer = f"`--frames {max(1, num_frames // 2)}`"
    half = "`--dtype fp16`, " if plan.kind != "cpu" and plan.dtype == "fp32" else ""
    return f"lower one of: {half}{smaller}, {fewer}"


def _shrink(pixels: int) -> int:
    """Return three quarters of `pixels`, rounded down to a multiple of 8."""
    return max(8, pixels * 3 // 4 // 8 * 8)
