"""From pixels to latents."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from animdiff_cli.core.memory_levels import CHUNKS
from animdiff_cli.diffusion.low_vram import LowVram, with_less_memory
from animdiff_cli.diffusion.text_encoders import Report, ignore_report
from animdiff_cli.diffusion.weight_store import compute_device
from animdiff_cli.errors import DeviceError

#: pixels per VAE call: 4 frames of 512²
CHUNK = 4 * 512 * 512
Pixels = NDArray[np.uint8] | NDArray[np.float32]


class VaeEncoder(Protocol):
    """The part of diffusers' `AutoencoderKL` that encoding uses."""

    config: Any

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    def encode(self, x: Tensor) -> Any: ...

    def to(self, *args: Any, **kwargs: Any) -> Any: ...


#: from frames of 0 to 255, [F, 8h, 8w, 3], to scaled latents, float32 [1, 4, F, h, w] on the CPU
Encode = Callable[[Pixels], Tensor]


def encode(
    vae: VaeEncoder, frames: Pixels, *, low_vram: LowVram | None = None, report: Report = ignore_report
) -> Tensor:
    """Encode frames of 0 to 255, [F, 8h, 8w, 3], to scaled latents, float32 [1, 4, F, h, w] on the CPU.

    They are the mean of the posterior. Raises as `posterior_moments`.
    """
    mean, _ = posterior_moments(vae, frames, low_vram=low_vram, report=report)
    latents: Tensor = mean * vae.config.scaling_factor
    return latents.transpose(0, 1).unsqueeze(0)


@torch.no_grad()
def posterior_moments(
    vae: VaeEncoder, frames: Pixels, *, low_vram: LowVram | None = None, report: Report = ignore_report
) -> tuple[Tensor, Tensor]:
    """Encode frames of 0 to 255, [F, H, W, 3], in chunks: mean and standard deviation, float32 [F, 4, h, w] on the CPU.

    They are not scaled. If memory runs out, `low_vram` goes to a lower level. Moves the VAE to float32 for good if it
    overflows in less. Raises `DeviceError` if it overflows in float32 too.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    usual = max(1, CHUNK // (pixels.shape[2] * pixels.shape[3]))
    moments: list[tuple[Tensor, Tensor]] = []
    done = 0
    while done < len(pixels):

        def encode_next(start: int = done) -> tuple[Tensor, Tensor]:
            count = max(1, usual * low_vram.level.chunk // CHUNKS[0]) if low_vram else usual
            return _encode(vae, pixels[start : start + count])

        doing = f"encoding picture {done + 1} again"
        moments.append(with_less_memory(encode_next, low_vram, "decoding", doing=doing, report=report))
        done += len(moments[-1][0])
    return torch.cat([mean for mean, _ in moments]), torch.cat([std for _, std in moments])


def _encode(vae: VaeEncoder, pixels: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = _posterior(vae, pixels)
    if not (mean.isfinite().all() and std.isfinite().all()) and vae.dtype != torch.float32:
        vae.to(torch.float32)
        mean, std = _posterior(vae, pixels)
    if not mean.isfinite().all():
        raise DeviceError("the VAE's latents contain NaN or infinity", hint="its weights are damaged: fetch them again")
    return mean.cpu(), std.cpu()


def _posterior(vae: VaeEncoder, pixels: Tensor) -> tuple[Tensor, Tensor]:
    posterior = vae.encode((pixels.to(compute_device(vae)).float() / 127.5 - 1).to(vae.dtype)).latent_dist
    return posterior.mean.float(), posterior.std.float()
