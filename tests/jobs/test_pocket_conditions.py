"""The bundled ControlNet, SparseCtrl and IP-Adapter do what they are for, in a few steps."""

import pytest
from PIL import Image

from animdiff_cli import generate
from animdiff_cli.outputs import write_clip
from tools.pocket.steering import distances, psnr
from tools.pocket.track import track
from tools.pocket.world import Scene, render


def heart(x, y, colour="red"):
    return Scene("heart", colour, "in the night sky", x, y, size=0.3, phase=0.0, speed=1.0, heading=1, seed=3)


def rendered(prompt, **settings):
    settings = {"steps": 5, "num_frames": 4, "seed": 2, "model": "pocket"} | settings
    return generate(prompt, **settings).frames


@pytest.mark.parametrize("place", [(0.25, 0.3), (0.75, 0.65)], ids=["upper left", "lower right"])
def test_an_outline_says_where_the_object_is(tmp_path, place):
    drawn = render(heart(*place), num_frames=4)
    source = write_clip(drawn, 8, tmp_path / "drawn.gif", "gif", {"config": {}})
    frames = rendered("a red heart in the night sky", controls=[f"pocket-outline={source}"])
    assert distances(frames, drawn, "red").mean() < 25  # of 128 pixels; without the outline 58 and 36


def test_a_picture_becomes_the_first_frame(tmp_path):
    drawn = render(heart(0.3, 0.4), num_frames=1)
    Image.fromarray(drawn[0]).save(tmp_path / "heart.png")
    control = f"pocket-sparse={tmp_path / 'heart.png'}"
    first, usual = (
        rendered("a red heart in the night sky", controls=controls, seed=3, num_frames=8)[0]
        for controls in ([control], [])
    )
    assert psnr(first, drawn[0]) > psnr(usual, drawn[0]) + 4  # dB


@pytest.mark.parametrize("colour", ["red", "pink"])
def test_a_picture_says_what_colour_the_object_has(tmp_path, colour):
    Image.fromarray(render(heart(0.5, 0.5, colour), num_frames=1)[0]).save(tmp_path / "heart.png")
    frames = rendered("a drawing in the night sky", image_prompts=[f"pocket-image={tmp_path / 'heart.png'}"])
    assert track(frames, colour).visible.all()
