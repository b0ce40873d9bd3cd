"""Camera moves, measured on the cropped frames by an independent motion estimator.

It follows a grid of patches from frame to frame by phase correlation and fits one shift, scale and rotation.
"""

from itertools import pairwise

import numpy as np
import pytest

from animdiff_cli.core.shots import shot_windows
from animdiff_cli.training.data import decode
from animdiff_cli.training.data.crop import crop, decoding_size
from animdiff_cli.training.data.media import Media

FRAMES, SIZE, SPEED = 16, (128, 160), 0.4


@pytest.fixture(scope="module")
def picture(real):
    """Decode one frame of a real video, 720p: a meadow with a rabbit."""
    media = Media("bigbuckbunny", real("bigbuckbunny"), "video")
    timeline = decode.probe(media)
    return lambda size: decode.read_frames(media, timeline, [100], size)


@pytest.fixture(scope="module")
def camera_clip(picture):
    """Build a clip of a still with a camera move: uint8 `[F, 128, 160, 3]`."""

    def build(shot, speed=SPEED, **given):
        windows = shot_windows(shot, speed, FRAMES, 1280, 720, aspect=SIZE[1] / SIZE[0], **given)
        width, height = decoding_size(windows, 1280, 720, SIZE)
        windows = shot_windows(shot, speed, FRAMES, width, height, aspect=SIZE[1] / SIZE[0], **given)
        return crop(np.repeat(picture((width, height)), FRAMES, axis=0), windows, SIZE)

    return build


def shift(before, after):
    """Return the subpixel shift of a patch in pixels (right, down)."""
    window = np.outer(np.hanning(before.shape[0]), np.hanning(before.shape[1]))
    spectra = [np.fft.fft2((patch - patch.mean()) * window) for patch in (before, after)]
    cross = spectra[1] * spectra[0].conj()
    peak = np.fft.fftshift(np.fft.ifft2(cross / np.maximum(np.abs(cross), 1e-9) ** 0.7).real)
    row, column = np.unravel_index(peak.argmax(), peak.shape)

    def refined(line):
        low, mid, high = line
        return (low - high) / (2 * (low - 2 * mid + high))

    row, column = np.clip([row, column], 1, np.array(peak.shape) - 2)
    down = row - peak.shape[0] // 2 + refined(peak[row - 1 : row + 2, column])
    right = column - peak.shape[1] // 2 + refined(peak[row, column - 1 : column + 2])
    return right, down


def motion(before, after, patch=48, step=16):
    """Fit (right, down, scale, clockwise degrees) to the shifts of patches, ignoring outliers."""
    height, width = before.shape
    places, shifts = [], []
    for top in range(0, height - patch + 1, step):
        for left in range(0, width - patch + 1, step):
            region = np.s_[top : top + patch, left : left + patch]
            places.append((left + patch / 2 - width / 2, top + patch / 2 - height / 2))
            shifts.append(shift(before[region], after[region]))
    places, shifts = np.array(places), np.array(shifts)
    keep = np.ones(len(places), bool)
    for _ in range(4):
        x, y = places[keep].T
        zero, one = np.zeros_like(x), np.ones_like(x)
        left = np.concatenate([np.stack([one, zero, x, -y], 1), np.stack([zero, one, y, x], 1)])
        found, *_ = np.linalg.lstsq(left, np.concatenate(shifts[keep].T), rcond=None)
        right, down, growth, turn = found
        x, y = places.T
        predicted = np.stack([right + growth * x - turn * y, down + growth * y + turn * x], 1)
        error = np.linalg.norm(predicted - shifts, axis=1)
        keep = error <= max(0.5, 2 * np.median(error))
    return right, down, 1 + growth, np.degrees(turn)


def measured(clip):
    """Return the median motion per frame of a clip `[F, H, W, 3]`."""
    grey = clip.astype(float).mean(axis=-1)
    return np.median([motion(*pair) for pair in pairwise(grey)], axis=0)


STEPS = FRAMES - 1
ACROSS, DOWN = SPEED * SIZE[1] / STEPS, SPEED * SIZE[0] / STEPS
GROWTH, TURN = (1 + SPEED) ** (1 / STEPS), 90 * SPEED / STEPS


@pytest.mark.parametrize(
    ("shot", "expected"),
    [
        ("pan-right", (-ACROSS, 0, 1, 0)),
        ("pan-left", (ACROSS, 0, 1, 0)),
        ("tilt-up", (0, DOWN, 1, 0)),
        ("tilt-down", (0, -DOWN, 1, 0)),
        ("zoom-in", (0, 0, GROWTH, 0)),
        ("zoom-out", (0, 0, 1 / GROWTH, 0)),
        ("roll-cw", (0, 0, 1, -TURN)),
        ("roll-ccw", (0, 0, 1, TURN)),
    ],
)
def test_a_camera_move_has_its_direction_and_speed(shot, expected, camera_clip):
    right, down, growth, turn = measured(camera_clip(shot))
    assert (right, down) == pytest.approx(expected[:2], abs=0.2)  # pixels per frame, of 4.3 and 3.4
    assert growth == pytest.approx(expected[2], abs=0.003)  # of 1.023
    assert turn == pytest.approx(expected[3], abs=0.25)  # degrees per frame, of 2.4


def test_an_eased_pan_is_slow_at_the_ends_and_fast_between(camera_clip):
    grey = camera_clip("pan-right", easing="smooth").astype(float).mean(axis=-1)
    steps = [-motion(grey[at], grey[at + 1])[0] for at in (0, 7, 14)]
    assert steps[1] > ACROSS
    assert max(steps[0], steps[2]) < ACROSS / 2


def test_a_roll_shows_no_black_corners(picture, camera_clip):
    """A white picture stays white in every frame, at any position and speed."""
    for speed, position in [(0.2, (0, 0)), (0.7, (1, 1)), (1.3, (0.5, 0)), (2.0, (1, 0))]:
        windows = shot_windows("roll-cw", speed, FRAMES, 301, 173, aspect=SIZE[1] / SIZE[0], position=position)
        clip = crop(np.full((FRAMES, 173, 301, 3), 255, np.uint8), windows, SIZE)
        assert clip.min() == 255


def test_a_window_of_whole_pixels_is_copied(picture):
    frame = picture((320, 180))
    window = shot_windows("pan-right", 0.5, 3, 240, 180)[1]
    shown = crop(frame, [window], (120, 160))
    left, top = int(window.corners()[0][0]), int(window.corners()[0][1])
    assert window.corners()[0] == (left, top)
    assert (shown[0] == frame[0, top : top + 120, left : left + 160]).all()
