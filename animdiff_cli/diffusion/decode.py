"""From latents to pixels."""

from collections.abc import Callable, Iterator
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
    done = 0
    while done < len(images):

        def decode_next(start: int = done) -> NDArray[np.uint8]:
            count = min(chunk_size, low_vram.level.chunk) if low_vram else chunk_size
            chunk = images[start : start + count].to(compute_device(vae)) / vae.config.scaling_factor
            return _decode_chunk(vae, chunk, report)

        doing = f"decoding frame {done + 1} again"
        decoded = with_less_memory(decode_next, low_vram, "decoding", doing=doing, report=report)
        yield decoded
        done += len(decoded)
        on_decoded(done, len(images))


def _decode_chunk(vae: Vae, images: Tensor, report: Report) -> NDArray[np.uint8]:
    pixels = _run(vae, images)
    if not torch.isfinite(pixels).all() and vae.dtype != torch.float32:
        report(f"the VAE overflows in {str(vae.dtype).removeprefix('torch.')}: decoding in float32")
        vae.to(torch.float32)
        pixels = _run(vae, images)
    if not torch.isfinite(pixels).all():
        name = getattr(vae, "weights_file", None)
        raise IntegrityError(
            f"the VAE{f' of {name}' if name else ''} decodes to NaN or infinity: its weights are damaged",
            hint="download it again, or use another VAE: `--vae FILE`",
        )
    levels = (pixels.float() / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).cpu().numpy()


def _run(vae: Vae, images: Tensor) -> Tensor:
    decoded: Tensor = vae.decode(images.to(compute_device(vae), vae.dtype), return_dict=False)[0]
    return decoded
