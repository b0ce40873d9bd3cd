"""Affinity scores of PIA (Zhang et al. 2023, arXiv 2312.13964): how alike each frame is to the given picture.

The scores are those of the official code (`RANGE_LIST`), which were measured on videos of small, moderate and large
motion. Lower scores let a frame move further from the picture.
"""

from collections.abc import Mapping, Sequence

from animdiff_cli.core.choices import PiaVariant

#: variant → scores of small, moderate and large motion, by distance from the frame of the picture. The last one is
#: that of every further frame
SCORES: Mapping[PiaVariant, tuple[tuple[float, ...], ...]] = {
    "animation": (
        (1.0, 0.9, 0.85, 0.85, 0.85, 0.8),
        (1.0, 0.8, 0.8, 0.8, 0.79, 0.78, 0.75),
        (1.0, 0.8, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.6, 0.5, 0.5),
    ),
    "loop": (
        (1.0, 0.9, 0.85, 0.85, 0.85, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.85, 0.85, 0.9, 1.0),
        (1.0, 0.8, 0.8, 0.8, 0.79, 0.78, 0.75, 0.75, 0.75, 0.75, 0.75, 0.78, 0.79, 0.8, 0.8, 1.0),
        (1.0, 0.8, 0.7, 0.7, 0.7, 0.7, 0.6, 0.5, 0.5, 0.6, 0.7, 0.7, 0.7, 0.7, 0.8, 1.0),
    ),
    "style": (
        (0.5, 0.4, 0.4, 0.4, 0.35, 0.3),
        (0.5, 0.4, 0.4, 0.4, 0.35, 0.35, 0.3, 0.25, 0.2),
        (0.5, 0.2),
    ),
}


def affinity(variant: PiaVariant, magnitude: int, distance: int, num_frames: int) -> float:
    """Return the score of a frame that is `distance` frames from the picture; after it, in a loop of `num_frames`.

    The scores of a loop are stretched to its length: they lead back to the picture.

    >>> affinity("animation", 0, 1, 16), affinity("animation", 0, 99, 100)
    (0.9, 0.8)
    >>> [affinity("loop", 2, distance, 31) for distance in (0, 1, 30)]
    [1.0, 0.9, 1.0]
    """
    scores = SCORES[variant][magnitude]
    if variant != "loop":
        return scores[min(distance, len(scores) - 1)]
    place = distance * (len(scores) - 1) / max(1, num_frames - 1)
    before = min(int(place), len(scores) - 2)
    share = place - before
    return (1 - share) * scores[before] + share * scores[before + 1]


def nearest_pictures(
    variant: PiaVariant, magnitude: int, num_frames: int, frames: Sequence[int]
) -> list[tuple[int, float]]:
    """Return for each frame of a clip the number of the picture that it is led from, and its score.

    `frames` are those of the pictures. The nearest counts, the earlier one of two. In a loop, frames before the first
    picture come after the last one.
    """

    def led_from(frame: int) -> tuple[int, float]:
        if variant != "loop":
            number = min(range(len(frames)), key=lambda index: (abs(frame - frames[index]), frames[index]))
            return number, affinity(variant, magnitude, abs(frame - frames[number]), num_frames)
        after = [(frame - other) % num_frames for other in frames]
        number = min(range(len(frames)), key=lambda index: (min(after[index], num_frames - after[index]), after[index]))
        return number, affinity(variant, magnitude, after[number], num_frames)

    return [led_from(frame) for frame in range(num_frames)]
