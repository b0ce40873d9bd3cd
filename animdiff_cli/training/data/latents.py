"""Cache of VAE latents on disk, so that the VAE can leave memory during training.

The name of an entry is a digest of everything it depends on: pixels, settings and VAE weights. A changed video, VAE or
dtype therefore never finds a stale entry.
"""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from animdiff_cli.diffusion.encode import VaeEncoder, posterior_moments
from animdiff_cli.files.os_errors import readable_output_failures
from animdiff_cli.outputs.ffmpeg import Frames
from animdiff_cli.training.data.dataset import ClipDataset
from animdiff_cli.training.data.prefetch import prefetch
from animdiff_cli.weights.files import read_tensors, write_tensors

#: increment when the same inputs would be encoded differently
VERSION = 1
OnEntry = Callable[[int, int], None]  # (entries done, entries in total)


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


def encode_clip(vae: VaeEncoder, frames: Frames) -> Moments:
    """Encode frames uint8 `[F, H, W, 3]`. Raises as `posterior_moments`."""
    mean, std = posterior_moments(vae, frames)
    return Moments(mean.half(), std.half())


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
