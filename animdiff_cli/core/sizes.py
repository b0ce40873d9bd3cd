"""Frame sizes in pixels: what the latent grid allows, and aspect-ratio buckets for training."""

#: spatial downsampling factor of the VAE
PIXELS_PER_LATENT = 8
#: step of the longer side in pixels, so that videos of similar shape share a bucket
STEP = 64
#: below this size, a step of 64 pixels is too coarse; 8 is used
SMALL = 128
#: longer clips are cropped, because memory grows with the longer side
MAX_ASPECT = 2.5


def nearest_sizes(pixels: int) -> tuple[int, ...]:
    """Return the valid sizes next to `pixels`: below and above, or `pixels` itself if it is valid.

    >>> nearest_sizes(130)
    (128, 136)
    >>> nearest_sizes(3)
    (8,)
    """
    below = max(pixels // PIXELS_PER_LATENT, 0) * PIXELS_PER_LATENT
    above = below if below == pixels else below + PIXELS_PER_LATENT
    return tuple(size for size in dict.fromkeys((below, max(above, PIXELS_PER_LATENT))) if size > 0)


def bucket_for(width: int, height: int, size: int, *, square: bool = False) -> tuple[int, int]:
    """Return the bucket (height, width) in pixels for a video of `width` × `height`.

    The shorter side is `size`, a multiple of 8. The longer side is the nearest step (64 pixels; 8 for sizes below
    128), at most 2.5 times as long.

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
    # steps start at `size`, which need not be a multiple of the step
    longer = size + step * round((size * aspect - size) / step)
    return (size, longer) if width >= height else (longer, size)
