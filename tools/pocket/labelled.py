"""Labelled frames of the world, to train the classifier."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from tools.pocket.degrade import degrade
from tools.pocket.world import COLOURS, OBJECTS, PLACES, random_scene, render

FRAMES_PER_CLIP = 4
SIDE = 64
DEGRADED_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Labelled:
    """`images` uint8 [N, 64, 64, 3]; `labels` int64 [N, 3]: indices into OBJECTS, COLOURS and PLACES."""

    images: np.ndarray
    labels: np.ndarray


def draw_labelled(clips: int, rng: np.random.Generator) -> Labelled:
    """Draw random frames of random clips; three quarters of the clips are degraded."""
    images, labels = [], []
    for _ in range(clips):
        scene = random_scene(rng)
        frames = render(scene)[rng.choice(16, FRAMES_PER_CLIP, replace=False)]
        frames = degrade(frames, rng) if rng.random() < DEGRADED_SHARE else frames
        images.extend(np.asarray(Image.fromarray(frame).reduce(frame.shape[0] // SIDE)) for frame in frames)
        label = (OBJECTS.index(scene.kind), COLOURS.index(scene.colour), PLACES.index(scene.place))
        labels.extend([label] * FRAMES_PER_CLIP)
    return Labelled(np.stack(images), np.array(labels))
