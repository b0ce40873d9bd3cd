"""From latents to pixels."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from animdiff_cli.diffusion.low_vram import LowVram, with_less_memory
from animdiff_cli.diffusion.text_encoders import Report, ignore_report
from animdiff_cli.diffusion.weight_store import compute_device
from animdiff_cli.errors import DeviceError, IntegrityError

CHUNK_SIZE = 4  # frames that are decoded at once
#: Devices on which a chunk is launched while the one before is computed and used. A CPU computes when it is called, and
#: a copy from Apple's GPU waits for all that was launched.
LAUNCHES_AHEAD = ("cuda",)
OnDecoded = Callable[[int, int], None]  # (frames done, frames in total)


class Vae(Protocol):
    """The part of diffusers' `AutoencoderKL` that decoding uses."""

    config: Any

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def decode(self, z: Tensor, *, return_dict: bool) -> Any: ...

    def to(self, *args: Any, **kwargs: Any) -> Any: ...


def decode(vae: Vae, latents: Tensor) -> NDArray[np.uint8]:
    """Decode a whole clip to frames uint8 [F, 8h, 8w, 3]. Raises as `decode_chunks`."""
    return np.concatenate(list(decode_chunks(vae, latents)))


@torch.no_grad()
def decode_chunks(
    vae: Vae,
    latents: Tensor,
    *,
    chunk_size: int = CHUNK_SIZE,
    on_decoded: OnDecoded = lambda done, total: None,
    report: Report = ignore_report,
    low_vram: LowVram | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Decode latents [1, 4, F, h, w] on any device; yield frames uint8 [f, 8h, 8w, 3], `chunk_size` at a time
    or as few as `low_vram` wants.

    On CUDA, the next chunk is launched before one is yielded: the GPU computes while the caller uses it.

    A VAE that overflows in half precision (the black frames of SD1.5 in fp16) is moved to float32 for good, and the
    chunk is decoded again; `report` receives a note. Raises `DeviceError` if the latents are not finite, before the
    first chunk, and `IntegrityError` if the VAE's pixels are not, in float32 too.
    """
    if not torch.isfinite(latents).all():
        raise DeviceError(
            "the denoised latents hold NaN or infinity: the image model overflows in this dtype",
            hint="use `--dtype fp32`; if that is what you use, the weights are damaged: get them again",
        )
    images = latents[0].transpose(0, 1)
    ahead = 1 if compute_device(vae).type in LAUNCHES_AHEAD else 0
    launched: deque[_Chunk] = deque()
    begun = done = 0
    overflows = False
    while done < len(images):
        while begun < len(images) and len(launched) <= ahead:

            def launch(start: int = begun, *, in_float32: bool = overflows) -> _Chunk:
                if in_float32:
                    vae.to(torch.float32)
                count = min(chunk_size, low_vram.level.chunk) if low_vram else chunk_size
                chunk = images[start : start + count].to(compute_device(vae)) / vae.config.scaling_factor
                return _launch(vae, chunk)

            doing = f"decoding frame {begun + 1} again"
            launched.append(with_less_memory(launch, low_vram, "decoding", doing=doing, report=report))
            begun += len(launched[-1].frames)
        chunk = launched.popleft()
        if not chunk.is_finite():
            if vae.dtype == torch.float32:
                raise _damaged(vae)
            report(f"the VAE overflows in {str(vae.dtype).removeprefix('torch.')}: decoding in float32")
            overflows = True
            launched.clear()
            begun = done
            continue
        yield chunk.frames.numpy()
        done += len(chunk.frames)
        on_decoded(done, len(images))


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Frames on the CPU, uint8 [f, H, W, 3], complete when `is_finite` has returned."""

    frames: Tensor
    finite: Tensor  # one bool on the CPU
    copied: Any  # CUDA event, or None if the copies waited

    def is_finite(self) -> bool:
        """Wait for the chunk; return whether the VAE computed numbers."""
        if self.copied is not None:
            self.copied.synchronize()
        return bool(self.finite)


def _launch(vae: Vae, images: Tensor) -> _Chunk:
    """Queue the decoding of images [f, 4, h, w], and the copies to the CPU. On CUDA nothing here waits."""
    pixels: Tensor = vae.decode(images.to(compute_device(vae), vae.dtype), return_dict=False)[0]
    finite = torch.isfinite(pixels).all()
    levels = (pixels.float() / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)
    runs_on = pixels.device.type in LAUNCHES_AHEAD
    frames, finite = (x.to("cpu", non_blocking=runs_on) for x in (levels, finite))
    return _Chunk(frames, finite, _event_after(pixels.device) if runs_on else None)


def _event_after(device: torch.device) -> Any:
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch
    event.record(torch.cuda.current_stream(device))
    return event


def _damaged(vae: Vae) -> IntegrityError:
    name = getattr(vae, "weights_file", None)
    return IntegrityError(
        f"the VAE{f' of {name}' if name else ''} decodes to NaN or infinity: its weights are damaged",
        hint="download it again, or use another VAE: `--vae FILE`",
    )
