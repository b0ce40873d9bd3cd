"""Footage of the world: whole pieces, the same on every run, read by the program's own trainings."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from animdiff_cli.metrics.camera import camera_motion
from animdiff_cli.training.data.find import find_in_folder
from tools.pocket.footage import WIDE_MARGIN, Footage, draw_footage, draw_piece, main
from tools.pocket.shadow import ON_THE_GROUND
from tools.pocket.world import OBJECTS, random_scene, render

STILLS, CLIPS = Footage("stills"), Footage("clips")


def test_training_finds_every_still_with_its_caption(tmp_path):
    draw_footage(tmp_path, STILLS, 3)
    found = find_in_folder(tmp_path, stills=True)
    assert [(media.kind, media.caption) for media in found.media] == [
        ("still", draw_piece(STILLS, number)[1]) for number in range(3)
    ]
    assert not found.skipped
    assert np.array_equal(np.asarray(Image.open(tmp_path / "00001.png")), draw_piece(STILLS, 1)[0][0])


def test_training_finds_every_clip_as_sixteen_frames_with_its_caption(tmp_path):
    draw_footage(tmp_path, CLIPS, 2)
    found = find_in_folder(tmp_path, stills=False)
    assert [(media.kind, media.caption, len(media.frames)) for media in found.media] == [
        ("frames", draw_piece(CLIPS, number)[1], 16) for number in range(2)
    ]
    first = [np.asarray(Image.open(tmp_path / "00000" / name)) for name in found.media[0].frames]
    assert np.array_equal(np.stack(first), draw_piece(CLIPS, 0)[0])


def test_what_is_there_stays_and_what_was_cut_off_is_drawn_anew(tmp_path):
    draw_footage(tmp_path, CLIPS, 2)
    kept = tmp_path / "00000/00.png"
    kept.write_bytes(b"mine")
    (tmp_path / "00001.txt").unlink()
    (tmp_path / "00001/07.png").unlink()
    draw_footage(tmp_path, CLIPS, 3)
    assert kept.read_bytes() == b"mine"
    assert all(len(list((tmp_path / clip).glob("*.png"))) == 16 for clip in ("00001", "00002"))


def test_other_footage_is_not_mixed_into_a_folder(tmp_path, capsys):
    shared = ["--out", str(tmp_path), "--count", "1", "--workers", "1"]
    assert main([*shared, "--what", "stills"]) == 0
    assert main([*shared, "--what", "stills", "--watermark"]) == 2
    assert "holds other footage" in capsys.readouterr().err


def test_many_workers_draw_what_one_would(tmp_path):
    draw_footage(tmp_path / "one", STILLS, 4)
    draw_footage(tmp_path / "two", STILLS, 4, workers=2)
    for file in (tmp_path / "one").glob("*.png"):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_another_seed_draws_other_scenes():
    assert not np.array_equal(draw_piece(STILLS, 0)[0], draw_piece(replace(STILLS, seed=1), 0)[0])


def test_marked_footage_shows_the_same_scenes_with_the_mark():
    plain, marked = draw_piece(STILLS, 0), draw_piece(replace(STILLS, watermark=True), 0)
    assert plain[1] == marked[1]
    assert np.array_equal(plain[0][:, :80], marked[0][:, :80])
    assert not np.array_equal(plain[0], marked[0])


@pytest.mark.parametrize("kind", OBJECTS)
def test_a_wide_picture_holds_the_usual_one_in_its_middle(kind):
    scene = random_scene(np.random.default_rng(3), kind=kind)
    wide, usual = (render(scene, num_frames=2, margin=margin) for margin in (WIDE_MARGIN, 0))
    middle = slice(WIDE_MARGIN, -WIDE_MARGIN)
    assert wide.shape == (2, 192, 192, 3)
    assert np.abs(wide[:, middle, middle].astype(int) - usual).max() <= (0 if kind not in ON_THE_GROUND else 3)


def test_around_a_wide_picture_the_place_goes_on_as_its_reflection():
    scene = replace(random_scene(np.random.default_rng(3), kind="star"), x=9.0)
    wide = render(scene, num_frames=1, margin=WIDE_MARGIN)[0]
    inside, outside = wide[:, WIDE_MARGIN + 1 : 2 * WIDE_MARGIN], wide[:, 1:WIDE_MARGIN]
    assert np.abs(inside[:, ::-1].astype(int) - outside).mean() < 8


def test_clips_of_a_moving_camera_have_no_caption_and_the_others_stay_what_they_were(tmp_path):
    filmed = replace(CLIPS, camera=0.5)
    pieces = [(draw_piece(filmed, number), draw_piece(CLIPS, number)) for number in range(6)]
    moving = [not words for (_, words), _ in pieces]
    assert any(moving) and not all(moving)
    for moves, ((frames, words), (still, told)) in zip(moving, pieces, strict=True):
        assert frames.shape == still.shape
        assert moves or (words == told and np.array_equal(frames, still))
        assert not moves or str(camera_motion(frames)) != "still"
    draw_footage(tmp_path, filmed, 6)
    assert [media.caption is None for media in find_in_folder(tmp_path, stills=False).media] == moving
