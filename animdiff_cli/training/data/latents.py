"""Cache of VAE latents on disk, so that the VAE can leave memory during training.

The name of an entry is a digest of everything it depends on: pixels, settings and VAE weights. A changed video, VAE or
dtype therefore never finds a stale entry.
"""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from animdiff_cli.errors import DeviceError
from animdiff_cli.files.os_errors import readable_output_failures
from animdiff_cli.outputs.ffmpeg import Frames
from animdiff_cli.training.data.dataset import ClipDataset
from animdiff_cli.training.data.prefetch import prefetch
from animdiff_cli.weights.files import read_tensors, write_tensors

#: increment when the same inputs would be encoded differently
VERSION = 1
#: pixels per VAE call: 4 frames of 512²
CHUNK = 4 * 512 * 512
OnEntry = Callable[[int, int], None]  # (entries done, entries in total)


class VaeEncoder(Protocol):
    """The part of diffusers' `AutoencoderKL` that encoding uses."""

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    def encode(self, x: Tensor) -> Any: ...

    def to(self, *args: Any, **kwargs: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and standard deviation of the VAE's posterior per frame, float16 `[F, 4, h, w]`, unscaled."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True, slots=True)
class LatentCache:
    """Posterior moments of clips, encoded by one VAE."""

    folder: Path
    vae_digest: str

    def fill(
        self,
        clips: ClipDataset,
        pairs: Iterable[tuple[int, int]],
        vae: VaeEncoder,
        on_entry: OnEntry = lambda done, total: None,
    ) -> None:
        """Encode every missing (index, variant). Raises `DeviceError` if the VAE overflows even in float32."""
        with readable_output_failures(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        missing = [pair for pair in pairs if not self._path(clips, *pair).is_file()]
        with closing(prefetch(lambda pair: clips.frames(*pair), missing)) as decoded:
            for done, (pair, frames) in enumerate(zip(missing, decoded, strict=True), start=1):
                moments = encode_clip(vae, frames)
                write_tensors({"mean": moments.mean, "std": moments.std}, self._path(clips, *pair), {})
                on_entry(done, len(missing))

    def read(self, clips: ClipDataset, index: int, variant: int) -> Moments:
        """Read one entry."""
        tensors = read_tensors(self._path(clips, index, variant))
        return Moments(tensors["mean"], tensors["std"])

    def _path(self, clips: ClipDataset, index: int, variant: int) -> Path:
        name = sha256_of_values(VERSION, clips.items[index].key, variant, self.vae_digest)
        return self.folder / f"{name}.safetensors"


@torch.no_grad()
def encode_clip(vae: VaeEncoder, frames: Frames) -> Moments:
    """Encode frames uint8 `[F, H, W, 3]` in chunks. Switches the VAE to float32 if it overflows in less."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    chunk_frames = max(1, CHUNK // (pixels.shape[2] * pixels.shape[3]))
    moments = [_encode(vae, chunk) for chunk in torch.split(pixels, chunk_frames)]
    return Moments(torch.cat([mean for mean, _ in moments]), torch.cat([std for _, std in moments]))


def sha256_of_module(module: torch.nn.Module) -> str:
    """Hash a module's weights by name, shape, dtype and bits, independent of the file they came from."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def sha256_of_values(*values: object) -> str:
    """Hash values by their `repr`."""
    return hashlib.sha256(repr(values).encode()).hexdigest()


def _encode(vae: VaeEncoder, pixels: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = _posterior(vae, pixels)
    if not (mean.isfinite().all() and std.isfinite().all()) and vae.dtype != torch.float32:
        vae.to(torch.float32)
        mean, std = _posterior(vae, pixels)
    if not mean.isfinite().all():
        raise DeviceError("the VAE's latents contain NaN or infinity", hint="its weights are damaged: fetch them again")
    return mean.half().cpu(), std.half().cpu()


def _posterior(vae: VaeEncoder, pixels: Tensor) -> tuple[Tensor, Tensor]:
    posterior = vae.encode((pixels.to(vae.device).float() / 127.5 - 1).to(vae.dtype)).latent_dist
    return posterior.mean.float(), posterior.std.float()
