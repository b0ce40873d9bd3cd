"""The pocket world: one object in one place that moves by the law of its kind, drawn procedurally."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from tools.pocket.motion_laws import LAWS, Pose, Start
from tools.pocket.pen import Pen, rotation
from tools.pocket.places import PLACE_PAINTERS, paint_place
from tools.pocket.shadow import cast_shadow
from tools.pocket.shapes import SHAPES
from tools.pocket.styles import BASE_PALETTE, STYLES, Style

OBJECTS: tuple[str, ...] = tuple(LAWS)
COLOURS: tuple[str, ...] = tuple(BASE_PALETTE)
PLACES: tuple[str, ...] = tuple(PLACE_PAINTERS)

VERSION = 1
"""Raised whenever the same scene would be drawn differently."""

SUPERSAMPLING = 3
"""Canvas pixels per frame pixel, each way."""


@dataclass(frozen=True, slots=True)
class Scene:
    """All parameters of a clip. `x`, `y`, `size` are fractions of the frame, `phase` is in radians.

    `speed` multiplies that of the law, `heading` is +1 (to the right) or -1, `seed` sets the details of the place.
    """

    kind: str
    colour: str
    place: str
    x: float
    y: float
    size: float
    phase: float
    speed: float
    heading: int
    seed: int


def random_scene(
    rng: np.random.Generator, *, kind: str | None = None, colour: str | None = None, place: str | None = None
) -> Scene:
    """Draw a random scene, uniform over the parameters that are not given."""
    kind = kind or OBJECTS[rng.integers(len(OBJECTS))]
    colour = colour or COLOURS[rng.integers(len(COLOURS))]
    place = place or PLACES[rng.integers(len(PLACES))]
    law = LAWS[kind]
    return Scene(
        kind=kind,
        colour=colour,
        place=place,
        x=rng.uniform(*law.x),
        y=rng.uniform(*law.y),
        size=rng.uniform(*law.size),
        phase=rng.uniform(0, 2 * math.pi),
        speed=rng.uniform(0.9, 1.12),
        heading=int(rng.choice((-1, 1))),
        seed=int(rng.integers(2**31)),
    )


def render(
    scene: Scene,
    *,
    num_frames: int = 16,
    size: int = 128,
    fps: float = 8.0,
    style: str = "base",
    first_frame: int = 0,
    margin: int = 0,
) -> np.ndarray:
    """Render the scene: uint8 [F, H, W, 3] with H = W = `size`. Deterministic.

    The law of motion is centred on frames 0 to 15 at 8 fps; `first_frame` starts later, to draw a single moment.
    `margin` adds that many pixels on every side, in which the place is mirrored.
    """
    look = STYLES[style]
    place = paint_place(scene.place, scene.seed, size * SUPERSAMPLING)
    backdrop = look.backdrop(_reflected(place, margin * SUPERSAMPLING))
    moments = poses(scene, num_frames=num_frames, fps=fps, first_frame=first_frame)
    frames = (_draw(scene, pose, backdrop, look, margin * SUPERSAMPLING) for pose in moments)
    return np.stack([np.asarray(look.finish(frame)) for frame in frames])


def poses(scene: Scene, *, num_frames: int = 16, fps: float = 8.0, first_frame: int = 0) -> Iterator[Pose]:
    """Return the pose of the object in each frame."""
    start = Start(scene.x, scene.y, scene.size, scene.phase, scene.speed, scene.heading)
    return (LAWS[scene.kind].pose(start, frame / fps) for frame in range(first_frame, first_frame + num_frames))


def _reflected(place: Image.Image, margin: int) -> Image.Image:
    if not margin:
        return place
    return Image.fromarray(np.pad(np.asarray(place), ((margin, margin), (margin, margin), (0, 0)), mode="reflect"))


def _draw(scene: Scene, pose: Pose, backdrop: Image.Image, style: Style, margin: int) -> Image.Image:
    """Draw one frame; `margin` is in pixels of `backdrop` and surrounds the scene."""
    canvas = backdrop.copy()
    side = canvas.width - 2 * margin
    cast_shadow(canvas, scene.kind, pose, scene.size, margin=margin)
    half = scene.size * side / 2
    pen = Pen(
        canvas=ImageDraw.Draw(canvas, "RGBA"),
        style=style,
        colour=style.palette[scene.colour],
        matrix=rotation(pose.angle) * np.asarray(pose.stretch) * half,
        origin=np.array([pose.x, pose.y]) * side + margin,
        outline_px=max(1, round(style.outline_width * side)),
    )
    SHAPES[scene.kind](pen, pose)
    return canvas.reduce(SUPERSAMPLING)
