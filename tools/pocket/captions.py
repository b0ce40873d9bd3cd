"""Captions of scenes."""

import numpy as np

from tools.pocket.world import Scene

PHRASINGS: tuple[str, ...] = (
    "{a} {colour} {kind} {place}",
    "{a} {colour} {kind} {place}",
    "{colour} {kind} {place}",
    "{a} {colour} {kind} {doing} {place}",
    "{colour} {kind} {doing} {place}",
    "a drawing of {a} {colour} {kind} {place}",
    "a drawing of {a} {colour} {kind} {doing} {place}",
    "a picture of {a} {colour} {kind} {place}",
    "{place}, {a} {colour} {kind}",
    "{place}, {a} {colour} {kind} {doing}",
)

DOING: dict[str, tuple[str, ...]] = {
    "rocket": ("rising", "taking off", "flying upwards"),
    "ball": ("bouncing", "bouncing up and down"),
    "fish": ("swimming", "swimming to and fro"),
    "wheel": ("rolling", "rolling along"),
    "balloon": ("drifting up", "floating"),
    "boat": ("rocking", "rocking on the waves"),
    "flower": ("swaying", "swaying in the wind"),
    "star": ("twinkling", "turning and twinkling"),
    "heart": ("beating", "throbbing"),
    "leaf": ("falling", "falling slowly"),
    "bird": ("flying", "flapping its wings"),
    "bell": ("swinging", "ringing"),
}


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """Name the scene's colour, object and place in one of several phrasings drawn from `rng`."""
    return word(scene.kind, scene.colour, scene.place, rng)


def word(kind: str, colour: str, place: str, rng: np.random.Generator) -> str:
    """Caption an object, its colour and its place in one of several phrasings drawn from `rng`."""
    doing = DOING[kind]
    phrasing = PHRASINGS[rng.integers(len(PHRASINGS))]
    return phrasing.format(
        a="an" if colour == "orange" else "a",
        colour=colour,
        kind=kind,
        place=place,
        doing=doing[rng.integers(len(doing))],
    )
