"""Aspect buckets: the few frame sizes that footage of every shape is trained at."""

from animdiff_cli.core.sizes import PIXELS_PER_LATENT

#: the longer side grows in steps of this many pixels, so that videos of nearly one shape share a batch
STEP = 64
#: below this size a step of 64 pixels would leave no choice but squares and halves
SMALL = 128
#: anything longer is cropped: memory grows with the longer side
MAX_ASPECT = 2.5


def bucket_for(width: int, height: int, size: int, *, square: bool = False) -> tuple[int, int]:
    """Choose (height, width) in pixels for footage of this shape: the shorter side is `size`, a multiple of 8.

    The longer side is the nearest step (64 pixels; 8 for sizes below 128), at most 2.5 times as long.

    >>> bucket_for(1920, 1080, 256), bucket_for(1080, 1920, 256), bucket_for(640, 480, 256)
    ((256, 448), (448, 256), (256, 320))
    >>> bucket_for(1920, 1080, 256, square=True)
    (256, 256)
    """
    if size % PIXELS_PER_LATENT:
        raise ValueError(f"size must be a multiple of {PIXELS_PER_LATENT}, got {size}")
    if square:
        return size, size
    step = STEP if size >= SMALL else PIXELS_PER_LATENT
    aspect = min(max(width, height) / min(width, height), MAX_ASPECT)
    # counted from `size`, which need not be a multiple of the step itself
    longer = size + step * round((size * aspect - size) / step)
    return (size, longer) if width >= height else (longer, size)
