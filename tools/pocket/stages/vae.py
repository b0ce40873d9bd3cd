"""Stage 1, the autoencoder, and stage 2, its decoder on noisy latents as diffusion produces them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from tools.pocket.latents import to_pixels

KL_WEIGHT = 1e-4  # per latent element
EDGE_WEIGHT = 1.0
COARSE_WEIGHT = 0.5
LATENT_NOISE = 0.05  # relative to the standard deviation of the latents; sampled latents are never exactly encoded ones


@dataclass
class AutoencoderStage:
    """Train encoder and decoder to reconstruct crops of single frames."""

    vae: AutoencoderKL
    frames: Tensor  # uint8 [N, H, W, 3]
    generator: torch.Generator
    batch: int
    crop: int  # pixels; smaller than the frame on slow machines
    peak_lr: float
    ema_decay: float = 0.999
    name: str = "vae"

    def modules(self) -> Mapping[str, nn.Module]:
        return {"vae": self.vae}

    def draw(self) -> tuple[Tensor, ...]:
        """Draw crops [B, 3, crop, crop] and the noise their latents are sampled with."""
        pixels = draw_crops(self.frames, self.batch, self.crop, self.vae.dtype, self.generator)
        return pixels, _latent_noise(pixels, self.vae, self.generator)

    def loss(self, pixels: Tensor, noise: Tensor) -> Tensor:
        posterior = self.vae.encode(pixels).latent_dist
        decoded = self.vae.decode(posterior.mean + posterior.std * noise).sample
        mean, variance = posterior.mean.float(), posterior.var.float()
        divergence = 0.5 * (mean.square() + variance - 1 - posterior.logvar.float()).mean()
        return reconstruction_loss(decoded.float(), pixels.float()) + KL_WEIGHT * divergence


@dataclass
class DecoderStage:
    """Continue to train the decoder, with the encoder frozen and a little noise on its latents."""

    vae: AutoencoderKL
    frames: Tensor  # uint8 [N, H, W, 3]
    generator: torch.Generator
    batch: int
    crop: int
    peak_lr: float
    ema_decay: float = 0.999
    name: str = "decoder"

    def modules(self) -> Mapping[str, nn.Module]:
        return {"post_quant_conv": self.vae.post_quant_conv, "decoder": self.vae.decoder}

    def draw(self) -> tuple[Tensor, ...]:
        """Draw crops [B, 3, crop, crop] and the noise on their latents."""
        pixels = draw_crops(self.frames, self.batch, self.crop, self.vae.dtype, self.generator)
        return pixels, LATENT_NOISE * _latent_noise(pixels, self.vae, self.generator)

    def loss(self, pixels: Tensor, noise: Tensor) -> Tensor:
        with torch.no_grad():
            noisy = self.vae.encode(pixels).latent_dist.mean + noise
        return reconstruction_loss(self.vae.decode(noisy).sample.float(), pixels.float())


def reconstruction_loss(decoded: Tensor, pixels: Tensor) -> Tensor:
    """Return the loss of [B, 3, H, W] in [-1, 1]: values, horizontal and vertical differences, and a downsampled view.

    Flat art is dominated by edges: absolute differences keep them sharper than squares.
    """
    error = decoded - pixels
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    coarse = F.avg_pool2d(error, 4).abs().mean()
    return error.abs().mean() + error.square().mean() + EDGE_WEIGHT * edges + COARSE_WEIGHT * coarse


def draw_crops(frames: Tensor, batch: int, crop: int, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Crop the same window of `batch` random frames: [B, 3, crop, crop] in [-1, 1].

    Windows start at multiples of 8 pixels, so that their latents align with those of whole frames.
    """
    chosen = torch.randint(len(frames), (batch,), generator=generator, device=frames.device)
    corners = (frames.shape[1] - crop) // 8 + 1
    top, left = (0, 0)
    if corners > 1:
        top, left = (8 * torch.randint(corners, (2,), generator=generator, device=frames.device)).tolist()
    return to_pixels(frames[:, top : top + crop, left : left + crop][chosen], dtype)


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, frames: Tensor) -> None:
    """Fold a shift and scale into the 1x1 convolutions so that each latent channel has mean 0 and std 1.

    `frames`: uint8 [N, H, W, 3] to measure on. Reconstructions do not change. Diffusion ends in noise of mean 0 and
    standard deviation 1, so latents must match it.
    """
    means = torch.cat([vae.encode(to_pixels(p, vae.dtype)).latent_dist.mean for p in frames.split(64)]).float()
    shift, scale = means.mean(dim=(0, 2, 3)), means.std(dim=(0, 2, 3))
    before, after = vae.quant_conv, vae.post_quant_conv
    # the channels of `before` are the four means, then the four log variances
    after.bias += (after.weight[:, :, 0, 0] @ shift.to(after.weight.dtype)).to(after.bias.dtype)
    after.weight *= scale[None, :, None, None]
    before.bias[:4] -= shift
    before.bias[:4] /= scale
    before.weight[:4] /= scale[:, None, None, None]
    before.bias[4:] -= 2 * scale.log()


def _latent_noise(pixels: Tensor, vae: AutoencoderKL, generator: torch.Generator) -> Tensor:
    """Draw standard noise shaped as the latents of `pixels`."""
    downscale = 2 ** (len(vae.config.block_out_channels) - 1)
    shape = (len(pixels), vae.config.latent_channels, pixels.shape[2] // downscale, pixels.shape[3] // downscale)
    return torch.randn(shape, generator=generator, device=pixels.device, dtype=pixels.dtype)
