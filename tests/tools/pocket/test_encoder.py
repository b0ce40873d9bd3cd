"""A small CLIP of the world, at toy size: what is saved is what `animdiff evaluate --clip` takes."""

import json

import numpy as np
import pytest
import torch

from animdiff_cli.jobs.evaluate import evaluate
from animdiff_cli.metrics.clip_score import MEAN, STD, ImageProcessor, load_encoder, text_alignment
from animdiff_cli.outputs import write_clip
from animdiff_cli.paths import pocket_dir
from tools.pocket.encoder import Shape, main, pixels, retrieval, save, train
from tools.pocket.labelled import Labelled, draw_labelled
from tools.pocket.tokenizer import load_tokenizer
from tools.pocket.world import random_scene, render

TOY = Shape(width=32, layers=1, heads=2, patch=16, joint=16)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(pocket_dir() / "tokenizer")


def test_frames_are_prepared_as_for_measuring():
    images = draw_labelled(1, np.random.default_rng(0)).images
    processor = ImageProcessor(64, MEAN, STD)
    assert torch.allclose(pixels(images), torch.stack([processor(image) for image in images]), atol=1e-5)


def test_what_looks_alike_to_a_new_encoder_is_told_apart_by_a_trained_one(tokenizer):
    """Flat colours, the easiest of worlds."""
    rng = np.random.default_rng(0)
    labels = np.stack([np.zeros(64, int), np.arange(64) % 3, np.zeros(64, int)], axis=1)
    shades = np.array([(226, 38, 44), (250, 220, 28), (38, 84, 236)], np.uint8)
    images = np.broadcast_to(shades[labels[:, 1], None, None], (64, 64, 64, 3)).copy()
    images += rng.integers(0, 5, images.shape, dtype=np.uint8)
    data = Labelled(images, labels)

    def likeness(steps):
        model = train(data, tokenizer, lambda message: None, minutes=1, steps=steps, shape=TOY, batch=16)
        with torch.inference_mode():
            image = torch.nn.functional.normalize(model.get_image_features(pixels(images[:3])).pooler_output)
        found = retrieval(model, tokenizer, Labelled(images[:3], labels[:3]))
        assert found.images == 3
        return float((image @ image.T)[~torch.eye(3, dtype=bool)].max()), found.colour

    untrained, _ = likeness(1)
    trained, colour = likeness(60)
    assert trained < 0.7 < 0.8 < untrained
    assert colour == 1


def test_what_is_saved_measures_clips(tokenizer, tmp_path):
    data = draw_labelled(4, np.random.default_rng(0))
    model = train(data, tokenizer, lambda message: None, minutes=0.001, shape=TOY, batch=4)
    save(model, tokenizer, tmp_path / "clip", {"minutes": 0.001})
    encoder = load_encoder(tmp_path / "clip", torch.device("cpu"))
    frames = render(random_scene(np.random.default_rng(1)), num_frames=3)
    path = write_clip(frames, 8, tmp_path / "clip.png", "apng", {"config": {"prompt": "a red rocket", "fps": 8}})
    (clip,) = evaluate(path, clip=tmp_path / "clip", references=[path]).clips
    expected = text_alignment(encoder.embed_images(frames), encoder.embed_text("a red rocket"))
    assert clip.values["text"] == pytest.approx(100 * expected)
    assert clip.values["smooth"] is not None and clip.values["domain"] is not None
    assert json.loads((tmp_path / "clip" / "encoder.json").read_text()) == {"minutes": 0.001}


def test_a_folder_of_something_else_is_not_replaced(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["--out", str(tmp_path)]) == 2
    assert (tmp_path / "thesis.txt").exists()
    assert "not replaced" in capsys.readouterr().err
