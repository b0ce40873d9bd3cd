"""Given frames, from which a clip begins instead of from noise."""

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from animdiff_cli.core.curves import Curve, series
from animdiff_cli.core.denoising import num_denoised
from animdiff_cli.diffusion.conditions.condition import ClipContext, ClipStart, Condition, StepEnd, UNetCall
from animdiff_cli.diffusion.inversion import inverted_noise
from animdiff_cli.motion.unet import UNet


@dataclass(frozen=True, slots=True)
class SourceFrames(Condition):
    """Begin from `latents` [1, 4, F, h, w] with noise of the first step added, as SDEdit (Meng et al. 2022) does.

    `denoise` is the share of `num_steps` that renders a frame anew. A frame with less than others begins later: until
    then it is the given frame with the noise of the step, so the motion module sees all frames at one noise level. With
    0 it stays as it is.
    """

    keeps_rows_equal: ClassVar[bool] = True

    latents: Tensor
    denoise: float | Curve
    num_steps: int
    invert: bool = False  # begin from the noise that DDIM inversion finds instead of random noise
    #: where frames are repainted, [1, 1, F, h, w] from 0 to 1. With it, frames of `denoise` 1 begin from noise alone
    repaint: Tensor | None = None
    #: for a UNet that takes them: the mask and the latents of the kept pixels, [1, 5, F, h, w]. It needs no blending
    channels: Tensor | None = None
    noise: Tensor | None = None  # of the clip; set by `prepare`
    starts: Tensor | None = None  # call in which each frame begins, [F]; set by `prepare`

    @contextmanager
    def prepare(self, unet: UNet, clip: ClipContext) -> Iterator["SourceFrames"]:
        """Find where each frame begins."""
        timeline = clip.timeline
        shares = series(self.denoise, timeline).at(range(timeline.num_frames), 0)
        shares = [shares] * timeline.num_frames if isinstance(shares, float) else shares
        steps, calls = timeline.steps, timeline.calls or timeline.steps
        order = -(-calls // steps)  # calls of a step; the last one may have fewer
        starts = torch.tensor([order * (steps - num_denoised(self.num_steps, share)) for share in shares])
        noise = clip.noise.to(clip.device, copy=True)  # `begin` may replace it
        repaint, channels = (
            None if given is None else given.to(clip.device) for given in (self.repaint, self.channels)
        )
        latents = self.latents.to(clip.device)
        yield replace(
            self, latents=latents, repaint=repaint, channels=channels, noise=noise, starts=starts.to(clip.device)
        )

    def begin(self, latents: Tensor, start: ClipStart) -> Tensor:
        """Return the given frames, as noisy as the first step expects."""
        assert self.noise is not None
        if self.invert:
            self.noise.copy_(inverted_noise(start, self.latents))
        noisy = self._as_noisy(latents, start.scheduler, start.timesteps[0])
        if (
            self.repaint is None
            or self.invert
            or self.starts is None
            or len(start.timesteps) < len(start.scheduler.timesteps)
        ):
            return noisy
        return torch.where((self.starts == 0)[:, None, None], latents, noisy)

    def contribute(self, call: UNetCall) -> Mapping[str, Tensor]:
        """Return the mask and the latents of the kept pixels as `extra_channels`, if the UNet takes them."""
        if self.channels is None:
            return {}
        images = self.channels[0, :, list(call.frames)].transpose(0, 1)
        return {"extra_channels": torch.cat([images] * call.rows).to(call.latents)}

    def recording_key(self, call: UNetCall) -> Hashable | None:
        """Return nothing: channels are part of the batch."""
        return ()

    def amend(self, latents: Tensor, end: StepEnd) -> Tensor:
        """Put in what is kept, as noisy as the next step expects: frames that have not begun, and black in the mask."""
        assert self.starts is not None
        kept = self.starts > end.step
        blended = self.repaint is not None and self.channels is None
        if not blended and not kept.any():
            return latents
        noisy = self._as_noisy(latents, end.scheduler, end.next_timestep)
        if self.repaint is not None and blended:
            repaint = self.repaint.to(latents)
            latents = (1 - repaint) * noisy + repaint * latents
        return torch.where(kept[:, None, None], noisy, latents)

    def _as_noisy(self, latents: Tensor, scheduler: Any, timestep: Tensor | None) -> Tensor:
        """Return the given frames with the noise of a timestep, shaped and typed as `latents`."""
        source = self.latents.to(latents)
        if timestep is None or self.noise is None:
            return source
        noisy: Tensor = scheduler.add_noise(source, self.noise.to(latents), timestep.reshape(1))
        return noisy
