"""Masks of a clip: a picture, a video or a folder of frames in which white counts."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from animdiff_cli.diffusion.pictures import ClipPictures
from animdiff_cli.jobs.media import CHUNK


def shown(pictures: ClipPictures, frames: range) -> NDArray[np.uint8]:
    """Return what frames of the clip show, uint8 [F, H, W, 3]; black where there is no picture."""
    numbers = [pictures.of_frame[frame] for frame in frames]
    empty = np.zeros_like(pictures.pictures[0])
    return np.stack([empty if number is None else pictures.pictures[number] for number in numbers])


def chunks(count: int) -> list[range]:
    return [range(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]


def as_mask(frames: NDArray[np.uint8], feather: float) -> NDArray[np.uint8]:
    """Return the luminance of a mask in three equal channels, with blurred edges."""
    masks = [Image.fromarray(frame).convert("L").filter(ImageFilter.GaussianBlur(feather / 2)) for frame in frames]
    return np.stack([np.asarray(mask.convert("RGB")) for mask in masks])


def mask_latents(mask: NDArray[np.uint8]) -> torch.Tensor:
    """Reduce a mask [F, 8h, 8w, 3] to latents, [1, 1, F, h, w] from 0 to 1."""
    pixels = torch.from_numpy(mask[..., 0]).float()[:, None] / 255
    return F.avg_pool2d(pixels, 8).transpose(0, 1)[None]
