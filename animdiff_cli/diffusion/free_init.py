"""FreeInit: sample a clip again from noise that keeps the slow changes of the finished clip.

Wu et al. 2023 (arXiv 2312.07537), section 4. Training never shows a motion module pure noise, so the low frequencies
of the noise that a render begins with decide more than they should. Here they are taken from the clip itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from animdiff_cli.core.choices import FreeInitFilter


@dataclass(frozen=True, slots=True)
class LowPass:
    """A low-pass filter over frames, rows and columns. Cut-offs are fractions of the highest frequency, above 0.

    `order` is that of the Butterworth filter: higher is steeper.
    """

    kind: FreeInitFilter = "butterworth"
    spatial_cutoff: float = 0.25
    temporal_cutoff: float = 0.25
    order: int = 4

    def response(self, num_frames: int, height: int, width: int) -> Tensor:
        """Return the gain for each frequency of `torch.fft.rfftn`, float64 [F, H, W // 2 + 1] from 0 to 1."""
        frames, rows = (2 * torch.fft.fftfreq(size, dtype=torch.float64) for size in (num_frames, height))
        columns = 2 * torch.fft.rfftfreq(width, dtype=torch.float64)
        # squared distance from frequency 0, in cut-offs
        over_time = (frames / self.temporal_cutoff).square()[:, None, None]
        in_space = (rows / self.spatial_cutoff).square()[:, None] + (columns / self.spatial_cutoff).square()
        distance: Tensor = over_time + in_space
        if self.kind == "ideal":
            return (distance <= 1).double()
        if self.kind == "gaussian":
            return torch.exp(-distance / 2)
        return (1 + distance.pow(self.order)).reciprocal()


def mixed_noise(latents: Tensor, noise: Tensor, fresh: Tensor, alpha_cumprod: float, low_pass: LowPass) -> Tensor:
    """Return initial noise for the next pass, of about unit variance, on the CPU.

    `latents` are those of the finished clip. They are diffused with `noise`, with which the first pass began, to the
    last timestep of the training schedule (`alpha_cumprod`). Of the result the low frequencies remain; the high ones
    come from `fresh` noise. All tensors are [1, 4, F, h, w]. The transform runs over all frames, as if the clip looped.
    """
    noise, fresh = noise.cpu(), fresh.cpu()
    diffused = alpha_cumprod**0.5 * latents.to(noise) + (1 - alpha_cumprod) ** 0.5 * noise
    axes, size = (-3, -2, -1), noise.shape[-3:]
    gain = low_pass.response(*size).to(noise.dtype)
    # one transform for both: they are linear
    kept: Tensor = torch.fft.irfftn(torch.fft.rfftn(diffused - fresh, dim=axes) * gain, s=size, dim=axes)
    return fresh + kept
