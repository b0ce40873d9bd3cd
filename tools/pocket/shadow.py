"""The shadow of objects that roll or bounce, which makes the height of a bounce visible."""

from PIL import Image, ImageDraw

from tools.pocket.motion_laws import GROUND, Pose
from tools.pocket.pen import ellipse

ON_THE_GROUND = frozenset({"ball", "wheel"})
FADED_AT = 0.5
"""Height above the ground, as a fraction of the frame, from which a shadow grows no paler."""


def cast_shadow(canvas: Image.Image, kind: str, pose: Pose, size: float, *, margin: int = 0) -> None:
    """Draw the shadow of an object on the ground; it is paler and smaller the higher the object is.

    The scene fills `canvas` but for `margin` pixels on every side.
    """
    if kind not in ON_THE_GROUND:
        return
    side = canvas.width - 2 * margin
    lifted = min(1.0, max(0.0, GROUND - size / 2 - pose.y) / FADED_AT)
    across = size * 0.46 * (1 - 0.5 * lifted) * side
    opacity = round(80 * (1 - 0.6 * lifted))
    centre = (pose.x * side + margin, (GROUND + 0.005) * side + margin)
    shadow = ellipse(centre, across, across * 0.22).ravel().tolist()
    ImageDraw.Draw(canvas, "RGBA").polygon(shadow, fill=(24, 20, 40, opacity))
