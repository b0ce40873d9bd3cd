"""Measures of long clips: laws per stretch, seams at the edges of windows, loops."""

import json

import numpy as np
import pytest

from tools.pocket import length
from tools.pocket.classify import Accuracy, Classifier
from tools.pocket.length import edges, measure, parse_condition
from tools.pocket.world import Scene, random_scene, render


@pytest.fixture
def scene():
    return random_scene(np.random.default_rng(3), kind="bell")


def test_edges_are_where_a_static_window_begins_or_ends():
    assert edges(parse_condition("", 40, 1), 40) == [11, 15, 23, 27]
    assert edges(parse_condition("schedule=batched", 48, 1), 48) == [15, 31]
    assert edges(parse_condition("overlap=8", 32, 1), 32) == [7, 15, 23]
    for moving in ("loop=true", "schedule=uniform", "frames=16"):
        assert edges(parse_condition(moving, 40, 1), 16 if "16" in moving else 40) == []


def test_the_world_obeys_its_law_in_every_stretch_and_has_no_seam(scene: Scene):
    frames = render(scene, num_frames=48)
    found = measure(frames, scene, Classifier().eval(), [11, 15, 27, 31])
    assert found.obeys == [True, True, True]
    assert found.edge is not None and 0.5 < found.edge < 1.5
    other = render(random_scene(np.random.default_rng(4), kind="bell"), num_frames=16)
    cut = measure(np.concatenate([frames[:16], other]), scene, Classifier().eval(), [15])
    assert cut.edge is not None and cut.edge > 2 and cut.largest > 2


def test_a_clip_played_to_and_fro_loops(scene: Scene):
    frames = render(scene, num_frames=16)
    assert not measure(frames[:7], scene, Classifier().eval(), []).loop_in_range
    assert measure(np.concatenate([frames, frames[-2:0:-1]]), scene, Classifier().eval(), []).loop_in_range


def test_clips_are_rendered_once_and_reported(tmp_path, monkeypatch, scene: Scene):
    calls = []

    class Renderer:
        def __init__(self, flags, device, kept):
            self.flags = flags

        def __call__(self, prompt, seed, *, motion, num_frames):
            calls.append((self.flags.get("context_mode"), num_frames))
            return render(scene, num_frames=num_frames)

        def settings(self, *, motion):
            return {"config": dict(self.flags)}

    monkeypatch.setattr(length, "ClipRenderer", Renderer)
    monkeypatch.setattr(length, "trained_classifier", lambda work, tell: (Classifier().eval(), Accuracy(1, 1, 1, 0)))
    out = tmp_path / "length.json"
    assert (
        length.main(
            [
                "mode=plug",
                "frames=16,clips=1",
                "--frames",
                "32",
                "--clips",
                "2",
                "--out",
                str(out),
                "--work",
                str(tmp_path),
            ]
        )
        == 0
    )
    assert calls == [("plug", 32)] * 2 + [(None, 16)]
    report = json.loads(out.read_text())
    assert report["conditions"]["mode=plug"]["all"]["obeys"]["of"] == 4
    assert len(list((tmp_path / "clips").iterdir())) == 3
