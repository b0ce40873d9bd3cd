"""Drawing styles: colours, outlines and image effects of the clips of the world."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from PIL import Image

from tools.pocket.colour import BLACK, RGB, WHITE, mix
from tools.pocket.style_effects import PIXEL, glowing, hatched, in_blocks, pale_on_paper, unchanged, unlit, waxed

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
    """A drawing style.

    `outline_width` is a fraction of the frame's side. `outline` turns an object's colour into that of its
    contour. `backdrop` repaints the place behind the object, `finish` the whole frame; both get and return
    an RGB image of unchanged size, the backdrop's larger than the frame by `SUPERSAMPLING`. `grain` is the side in
    pixels of what the style draws with.
    """

    palette: Mapping[str, RGB]
    outline_width: float
    outline: Callable[[RGB], RGB]
    backdrop: Callable[[Image.Image], Image.Image]
    finish: Callable[[Image.Image], Image.Image]
    grain: int = 1


STYLES: Mapping[str, Style] = {
    "base": Style(
        palette=BASE_PALETTE,
        outline_width=0.011,
        outline=partial(mix, other=BLACK, amount=1 - 0.36),
        backdrop=unchanged,
        finish=unchanged,
    ),
    "crayon": Style(
        palette={name: mix(colour, (240, 226, 205), 0.16) for name, colour in BASE_PALETTE.items()},
        outline_width=0.016,
        outline=partial(mix, other=BLACK, amount=0.40),
        backdrop=pale_on_paper,
        finish=waxed,
    ),
    "neon": Style(
        palette={
            "red": (255, 24, 48),
            "orange": (255, 120, 0),
            "yellow": (255, 232, 0),
            "green": (0, 220, 70),
            "turquoise": (0, 236, 216),
            "blue": (30, 80, 255),
            "purple": (150, 30, 240),
            "pink": (255, 70, 180),
        },
        outline_width=0.013,
        outline=partial(mix, other=WHITE, amount=0.70),
        backdrop=unlit,
        finish=glowing,
    ),
    "ink": Style(
        palette={name: mix(colour, (60, 50, 40), 0.14) for name, colour in BASE_PALETTE.items()},
        outline_width=0.018,
        outline=partial(mix, other=(18, 16, 20), amount=1.0),
        backdrop=hatched,
        finish=unchanged,
    ),
    "pixel": Style(
        palette=BASE_PALETTE,
        outline_width=0.016,
        outline=partial(mix, other=BLACK, amount=0.85),
        backdrop=unchanged,
        finish=in_blocks,
        grain=PIXEL,
    ),
}
