"""From pixels to latents."""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


def encode(vae: VaeEncoder, frames: Pixels) -> Tensor:
    """Encode frames of 0 to 255, [F, 8h, 8w, 3], to scaled latents, float32 [1, 4, F, h, w] on the CPU.

    They are the mean of the posterior. Raises as `posterior_moments`.
    """
    mean, _ = posterior_moments(vae, frames)
    latents: Tensor = mean * vae.config.scaling_factor
    return latents.transpose(0, 1).unsqueeze(0)


@torch.no_grad()
def posterior_moments(vae: VaeEncoder, frames: Pixels) -> tuple[Tensor, Tensor]:
    """Encode frames of 0 to 255, [F, H, W, 3], in chunks: mean and standard deviation, float32 [F, 4, h, w] on the CPU.

    They are not scaled. Moves the VAE to float32 for good if it overflows in less. Raises `DeviceError` if it overflows
    in float32 too.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    chunk_frames = max(1, CHUNK // (pixels.shape[2] * pixels.shape[3]))
    moments = [_encode(vae, chunk) for chunk in torch.split(pixels, chunk_frames)]
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
