"""Drawing styles: which colours, outlines and finishing touches a clip of the world is drawn with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL import Image

RGB = tuple[int, int, int]

BASE_PALETTE: Mapping[str, RGB] = {
    "red": (226, 38, 44),
    "orange": (250, 128, 16),
    "yellow": (255, 216, 28),
    "green": (26, 160, 58),
    "turquoise": (0, 205, 190),
    "blue": (38, 84, 236),
    "purple": (138, 48, 200),
    "pink": (255, 104, 184),
}


@dataclass(frozen=True, slots=True)
class Style:
    """One way to draw the world.

    `outline_width` is a fraction of the frame's side. `outline_level` multiplies an object's colour to
    give its outline. `backdrop` repaints the place behind the object, `finish` the whole frame; both
    get and return an RGB image of unchanged size.
    """

    palette: Mapping[str, RGB]
    outline_width: float
    outline_level: float
    backdrop: Callable[[Image.Image], Image.Image]
    finish: Callable[[Image.Image], Image.Image]


def mix(colour: RGB, other: RGB, amount: float) -> RGB:
    """Blend `amount` (0 to 1) of `other` into `colour`.

    >>> mix((0, 0, 0), (255, 255, 255), 0.5)
    (128, 128, 128)
    """
    red, green, blue = (round(a + (b - a) * amount) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def unchanged(image: Image.Image) -> Image.Image:
    """Leave the image as it is."""
    return image


STYLES: Mapping[str, Style] = {
    "base": Style(
        palette=BASE_PALETTE,
        outline_width=0.011,
        outline_level=0.36,
        backdrop=unchanged,
        finish=unchanged,
    ),
}
