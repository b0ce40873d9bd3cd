"""Clips with known motion: a texture that is translated, rotated and scaled by a fixed amount per frame."""

import math

import numpy as np
import pytest
from PIL import Image


def _texture(side, seed=0):
    """Return smooth random colours of full contrast, `[side, side, 3]`: blobs of about six pixels."""
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 256, (side // 6, side // 6, 3), dtype=np.uint8))
    return np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC))


@pytest.fixture(scope="session")
def texture():
    """A texture of 256 pixels."""
    return _texture(256)


@pytest.fixture(scope="session")
def filmed():
    """Render an analytic scene, so that no resampling blurs it: `[F, size, size, 3]`.

    Each frame is the previous one, scaled by `scale` and rotated clockwise by `turn` degrees about the centre, then
    translated by `right` and `down` pixels.
    """

    def build(num_frames=5, size=96, *, right=0.0, down=0.0, turn=0.0, scale=1.0, seed=0):
        rng = np.random.default_rng(seed)
        waves = rng.normal(0, 0.25, (40, 2))  # radians per pixel: mostly longer than twelve pixels
        phases, weights = rng.uniform(0, 2 * math.pi, (3, 40)), rng.normal(0, 14, (3, 40))
        angle = math.radians(turn)
        step = np.eye(3)
        step[:2, :2] = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        step[:2, 2] = right, down
        places = np.mgrid[0:size, 0:size][::-1].reshape(2, -1) - (size - 1) / 2
        frames = []
        for frame in range(num_frames):
            back = np.linalg.inv(np.linalg.matrix_power(step, frame))
            ground = waves @ (back[:2, :2] @ places + back[:2, 2:])
            colours = [128 + weights[c] @ np.cos(ground + phases[c][:, None]) for c in range(3)]
            frames.append(np.clip(np.rint(colours), 0, 255).astype(np.uint8).reshape(3, size, size).transpose(1, 2, 0))
        return np.stack(frames)

    return build


@pytest.fixture
def flickering(texture):
    """A still image that is brighter by `levels` in every other frame: `[F, 64, 64, 3]`."""

    def build(levels, num_frames=6):
        still = (texture[:64, :64].astype(int) * 3 // 4 + 10).astype(np.uint8)
        return np.stack([still + np.uint8(levels * (frame % 2)) for frame in range(num_frames)])

    return build
