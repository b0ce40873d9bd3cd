"""CLIP metrics: definitions on hand-made embeddings, loading and preprocessing with a toy CLIPModel."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import CLIPImageProcessorPil, CLIPModel

from animdiff_cli.errors import AnimdiffError, IntegrityError, UsageError
from animdiff_cli.metrics.clip_score import (
    ImageProcessor,
    check_encoder,
    domain_similarity,
    frame_consistency,
    load_encoder,
    neighbour_consistency,
    text_alignment,
)


@pytest.fixture
def embedded():
    """Three unit vectors in a plane, at 0, 60 and 90 degrees."""
    angles = torch.deg2rad(torch.tensor([0.0, 60.0, 90.0]))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def cos(*degrees):
    return np.mean(np.cos(np.deg2rad(degrees)))


def test_text_is_the_mean_cosine_over_frames(embedded):
    assert text_alignment(embedded, torch.tensor([1.0, 0.0])) == pytest.approx(cos(0, 60, 90), abs=1e-6)


def test_domain_is_the_mean_cosine_over_frames_and_reference_images(embedded):
    assert domain_similarity(embedded, embedded[:2]) == pytest.approx(cos(0, 60, 90, 60, 0, 30), abs=1e-6)


def test_smooth_is_the_mean_over_all_pairs_as_in_tune_a_video(embedded):
    assert frame_consistency(embedded) == pytest.approx(cos(60, 90, 30), abs=1e-6)


def test_smooth_neighbours_uses_consecutive_frames_only(embedded):
    assert neighbour_consistency(embedded) == pytest.approx(cos(60, 30), abs=1e-6)


def test_one_frame_has_no_smoothness(embedded):
    assert frame_consistency(embedded[:1]) is None
    assert neighbour_consistency(embedded[:1]) is None


@pytest.mark.parametrize("size", [(128, 128), (96, 64), (63, 101), (64, 64), (40, 30)])
def test_preprocessing_equals_that_of_transformers(size):
    width, height = size
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    expected = processor(frame, return_tensors="pt", input_data_format="channels_last").pixel_values[0]
    assert torch.allclose(ImageProcessor(64)(frame), expected, atol=1e-5)


def test_embeddings_equal_those_of_transformers(toy_clip, texture):
    encoder = load_encoder(toy_clip, torch.device("cpu"))
    frames = np.stack([texture[:48, :48], texture[50:98, 50:98]])
    model = CLIPModel.from_pretrained(toy_clip)
    tokens = encoder.tokenizer(["a fox"], padding="max_length", max_length=77, return_tensors="pt")
    with torch.inference_mode():
        pixels = torch.stack([ImageProcessor(32)(frame) for frame in frames])
        both = model(pixel_values=pixels, **tokens)
    assert torch.allclose(encoder.embed_images(frames), both.image_embeds, atol=1e-5)
    assert torch.allclose(encoder.embed_text("a fox"), both.text_embeds[0], atol=1e-5)


def test_a_truncated_prompt_is_reported(toy_clip):
    said = []
    load_encoder(toy_clip, torch.device("cpu")).embed_text("fox " * 50, said.append)
    assert "75 tokens" in said[0]


def test_a_folder_that_is_not_a_clip_model_is_refused(toy_model, tmp_path):
    for folder in (tmp_path, toy_model, toy_model / "vae"):
        with pytest.raises(AnimdiffError) as refusal:
            check_encoder(folder)
        assert "clip-vit-l14" in refusal.value.hint


@pytest.mark.parametrize("part", ["model.safetensors", "tokenizer.json"])
def test_a_folder_with_missing_files_is_refused(part, toy_clip, tmp_path):
    copy = shutil.copytree(toy_clip, tmp_path / "copy")
    (copy / part).unlink()
    with pytest.raises(IntegrityError):
        check_encoder(copy)


def test_missing_weights_are_refused(toy_clip, tmp_path):
    copy = shutil.copytree(toy_clip, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] += 1
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(IntegrityError, match="lacks 16 weights"):
        load_encoder(copy, torch.device("cpu"))


def test_truncated_weights_are_refused(toy_clip, tmp_path):
    copy = shutil.copytree(toy_clip, tmp_path / "copy")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(IntegrityError, match="cannot be loaded"):
        load_encoder(copy, torch.device("cpu"))


def test_an_invalid_normalization_is_refused(toy_clip, tmp_path):
    copy = shutil.copytree(toy_clip, tmp_path / "copy")
    (copy / "preprocessor_config.json").write_text('{"image_mean": "grey"}')
    with pytest.raises(IntegrityError, match="image_mean"):
        load_encoder(copy, torch.device("cpu"))


def test_another_model_type_is_named_in_the_error(toy_clip, tmp_path):
    copy = shutil.copytree(toy_clip, tmp_path / "copy")
    (copy / "config.json").write_text('{"model_type": "siglip"}')
    with pytest.raises(UsageError, match="is a `siglip` model"):
        check_encoder(copy)
