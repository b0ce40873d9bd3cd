"""Degrade renders like a small autoencoder does: blur, noise and ringing."""

import io

import numpy as np
from PIL import Image, ImageFilter


def degrade(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur, add noise to and compress each frame, with one strength for the whole clip: uint8 [F, H, W, 3]."""
    blur, quality = rng.uniform(0.0, 1.8), int(rng.integers(35, 95))
    noise, shade = rng.uniform(0.0, 8.0), rng.uniform(-10.0, 10.0, 3)
    return np.stack([_degrade_one(frame, rng, blur, quality, noise, shade) for frame in frames])


def _degrade_one(
    frame: np.ndarray, rng: np.random.Generator, blur: float, quality: int, noise: float, shade: np.ndarray
) -> np.ndarray:
    grain = rng.normal(0, noise, frame.shape) + shade
    soft = np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(blur)), dtype=float)
    packed = io.BytesIO()
    Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8)).save(packed, "JPEG", quality=quality)
    return np.asarray(Image.open(packed))
