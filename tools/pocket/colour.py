"""Colours as numbers, and how they mix."""

RGB = tuple[int, int, int]

WHITE: RGB = (255, 255, 255)
BLACK: RGB = (0, 0, 0)


def mix(colour: RGB, other: RGB, amount: float) -> RGB:
    """Blend `amount` (0 to 1) of `other` into `colour`.

    >>> mix((0, 0, 0), (255, 255, 255), 0.5)
    (128, 128, 128)
    """
    red, green, blue = (round(a + (b - a) * amount) for a, b in zip(colour, other, strict=True))
    return red, green, blue
