"""Known frames at the beginning of a clip, which the new frames continue."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from animdiff_cli.diffusion.conditions.condition import ClipStart, Condition, StepEnd, UNetCall


@dataclass(frozen=True, slots=True)
class KnownFrames(Condition):
    """Keep the first K frames as they are: `latents` and `noise` are [1, 4, K, h, w].

    At every timestep they are the encoded frames with the same noise added (as in RePaint, Lugmayr et al. 2022), so the
    motion module sees them beside the new frames at one noise level. After the last step they equal `latents`.
    """

    keeps_rows_equal: ClassVar[bool] = True

    latents: Tensor
    noise: Tensor

    def begin(self, latents: Tensor, start: ClipStart) -> Tensor:
        """Put the known frames in, as noisy as the first step expects."""
        return self._with_known(latents, start.scheduler, start.timesteps[0])

    def amend(self, latents: Tensor, end: StepEnd) -> Tensor:
        """Put the known frames in, as noisy as the next step expects."""
        return self._with_known(latents, end.scheduler, end.next_timestep)

    def recording_key(self, call: UNetCall) -> Hashable | None:
        """Return nothing: it changes latents between calls."""
        return ()

    def _with_known(self, latents: Tensor, scheduler: Any, timestep: Tensor | None) -> Tensor:
        known = self.latents.to(latents)
        if timestep is not None:
            known = scheduler.add_noise(known, self.noise.to(latents), timestep.reshape(1))
        return torch.cat([known, latents[:, :, known.shape[2] :]], dim=2)
