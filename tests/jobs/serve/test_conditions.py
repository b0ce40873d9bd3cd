"""Conditions through a server: the same frames as from `generate`."""

import numpy as np
import pytest

from animdiff_cli import generate
from animdiff_cli.outputs.read import read_clip
from tests.jobs.conftest import filled
from tests.jobs.serve.conftest import CLIP

CLIPS = {
    "networks and a mask": {
        "motion_module": "{motion}",
        "controls": ["{control}={picture}", {"ref": "{sparse}", "source": "{other}"}],
        "image_prompts": ["{adapter}={picture}"],
        "regions": ["{left}=a boat"],
        "video": "{clip}",
        "mask": "{left}",
        "denoise": 0.7,
    },
    "PIA": {"motion_module": "{pia}", "images": ["{other}"]},
}


@pytest.fixture(scope="module")
def lenient(start_server, of_conditions):
    """A server that may read the networks and pictures."""
    return start_server(limits={"allowed": tuple({path.parent for path in of_conditions.values()})})


@pytest.mark.parametrize("settings", CLIPS.values(), ids=CLIPS)
def test_a_server_renders_the_frames_of_the_command(lenient, of_conditions, settings):
    settings = CLIP | filled({"model": "{model}", **settings}, of_conditions) | {"dtype": "fp32"}
    job, _ = lenient.render(**settings)
    served = read_clip(lenient.output / job["files"][0]["path"]).frames
    assert np.array_equal(served, generate(**settings).frames)
