"""Small clips with recipes: each frame has one grey level, so that a test can read which frame a page shows."""

import numpy as np
import pytest

from animdiff_cli.core.events import Note
from animdiff_cli.jobs.gallery import make_gallery, plan_gallery
from animdiff_cli.outputs import write_clip

FORMATS = {".gif": "gif", ".mp4": "mp4", ".webm": "webm", ".webp": "webp", ".png": "apng", "": "frames"}


def level(frame):
    """Return the grey level of a frame."""
    return 20 + 25 * frame


def grey_clip(num_frames=6, width=32, height=32):
    """Return a clip, uint8 [F, H, W, 3], whose frame f has the grey level `level(f)`."""
    levels = np.array([level(frame) for frame in range(num_frames)], np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).copy()


def config(**settings):
    """Return a recipe with these settings and what every recipe has."""
    common = {"prompt": "a fox", "negative_prompt": "", "model": "pocket", "seed": 1, "num_frames": 6, "fps": 8}
    return {"config": common | settings, "weights": {}, "versions": {"animdiff": "0.1.0"}}


@pytest.fixture
def clip(tmp_path):
    """Write a clip into `clips/` and return its path; its format follows from the suffix."""

    def write(name, frames=None, recipe=None, fps=8, **settings):
        path = tmp_path / "clips" / name
        frames = grey_clip() if frames is None else frames
        return write_clip(frames, fps, path, FORMATS[path.suffix], recipe or config(**settings))

    return write


@pytest.fixture
def gallery(tmp_path):
    """Write a gallery, of `clips/` unless paths are given; returns it and the notes."""

    def write(*paths, output="page.html", **options):
        notes = []
        plan = plan_gallery(paths or [tmp_path / "clips"], tmp_path / output, **options)
        written = make_gallery(plan, lambda event: notes.append(event.message) if isinstance(event, Note) else None)
        return written, notes

    return write
