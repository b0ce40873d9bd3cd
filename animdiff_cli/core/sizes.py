"""Clip sizes: pixels that the latent grid can hold."""

#: the image decoder turns one latent cell into 8×8 pixels
PIXELS_PER_LATENT = 8


def nearest_sizes(pixels: int) -> tuple[int, ...]:
    """Find the sizes the model can render next to `pixels`: below and above, or `pixels` itself.

    >>> nearest_sizes(130)
    (128, 136)
    >>> nearest_sizes(3)
    (8,)
    """
    below = max(pixels // PIXELS_PER_LATENT, 0) * PIXELS_PER_LATENT
    above = below if below == pixels else below + PIXELS_PER_LATENT
    return tuple(size for size in dict.fromkeys((below, max(above, PIXELS_PER_LATENT))) if size > 0)
