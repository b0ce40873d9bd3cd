"""From clips to the report: read off real clips of the world, packed and unpacked on the way."""

import numpy as np
import pytest

from tools.pocket.footage import Footage, draw_piece
from tools.pocket.report import write_json
from tools.pocket.study.contact_sheets import draw_sheets
from tools.pocket.study.measures import collect
from tools.pocket.study.pack import pack, unpack
from tools.pocket.study.readings import Task, file_of, read_condition
from tools.pocket.study.rendering import clip_frames, index_file, packed_file, read_index
from tools.pocket.watermark import mark
from tools.pocket.world import random_scene, render


def keep(work, condition, clips, scenes=None):
    """Write clips as a render leaves them."""
    listed = []
    for number, frames in enumerate(clips):
        file = f"{condition}-{number}.npz"
        (work / "clips").mkdir(parents=True, exist_ok=True)
        np.savez_compressed(work / "clips" / file, frames=frames)
        told = {"kind": "ball", "colour": "red", "place": "in the snow"}
        if scenes:
            told = {"kind": scenes[number].kind, "colour": scenes[number].colour, "place": scenes[number].place}
        listed.append({**told, "prompt": "a red ball", "seed": number, "file": file})
    facts = {"config": {"steps": 2, "loras": ["/some/where/x.safetensors@1"]}, "weights": {}, "device": "cpu"}
    write_json(index_file(work, condition), {**facts, "clips": listed})


def panned(step=2):
    """Let the camera pan right over a wide still."""
    ((wide,), _) = draw_piece(Footage("stills", wide=True, seed=5), 3)
    return np.stack([wide[32:160, step * frame : step * frame + 128] for frame in range(16)])


def read(work, condition, measure):
    read_condition(Task(work, condition, measure, "base", work / "encoder"), work / "log")
    return collect(work, "tiny")["conditions"][condition]


@pytest.fixture
def work(tmp_path):
    return tmp_path / "work"


def test_a_pan_over_a_still_is_a_pan_to_the_right(work):
    keep(work, "lora-pan-right", [panned(), panned(0)])
    camera = read(work, "lora-pan-right", "camera")["camera"]
    assert (camera["right"]["hits"], camera["right"]["of"], camera["followed"]) == (1, 2, 2)
    assert 0.5 < camera["median"]["pan"] < 1.5  # of one clip at 2 px a frame and one at 0


def test_packed_clips_are_read_as_the_kept_ones_are(work, tmp_path):
    keep(work, "lora-pan-right", [panned()])
    here = read(work, "lora-pan-right", "camera")["camera"]["median"]["pan"]
    file_of(work, "lora-pan-right", "camera").unlink()  # as on a machine without OpenCV
    parts = list(pack(work, "tiny", tmp_path / "parts"))
    unpack(tmp_path / "parts", tmp_path / "there")
    clip = read_index(tmp_path / "there", "lora-pan-right")["clips"][0]
    assert [part.name for part in parts] == ["study.tar.00"]
    assert packed_file(tmp_path / "there", clip).is_file()
    assert clip_frames(tmp_path / "there", clip).shape == (16, 128, 128, 3)
    assert read(tmp_path / "there", "lora-pan-right", "camera")["camera"]["median"]["pan"] == pytest.approx(
        here, abs=0.1
    )


def test_marks_are_seen_where_they_are(work):
    scene = random_scene(np.random.default_rng(0))
    frames = render(scene)
    keep(work, "adapter-100", [mark(frames)])
    keep(work, "adapter-000", [frames])
    assert read(work, "adapter-100", "watermark")["watermark"]["mean"] == pytest.approx(1, abs=0.1)
    assert read(work, "adapter-000", "watermark")["watermark"]["mean"] == pytest.approx(0, abs=0.1)


def test_a_clip_of_the_world_obeys_and_a_frozen_one_does_not(work):
    scene = random_scene(np.random.default_rng(0), kind="rocket")
    frames = render(scene)
    keep(work, "schedule-linear", [frames, np.repeat(frames[:1], 16, axis=0)], [scene, scene])
    found = read(work, "schedule-linear", "law")
    assert (found["obeys"]["hits"], found["obeys"]["of"]) == (1, 2)


def test_the_report_names_files_without_their_folders(work):
    keep(work, "schedule-linear", [panned()])
    found = collect(work, "tiny")
    assert found["conditions"]["schedule-linear"]["settings"]["loras"] == ["x.safetensors@1"]
    assert set(found["conditions"]) == {"schedule-linear"}


def test_sheets_show_what_is_there(work, tmp_path):
    keep(work, "lora-pan-right", [panned()])
    assert [sheet.name for sheet in draw_sheets(work, tmp_path / "media")] == ["lora.gif"]
    assert list(draw_sheets(tmp_path / "nothing", tmp_path / "media")) == []
