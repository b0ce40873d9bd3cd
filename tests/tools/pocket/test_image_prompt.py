"""The training of an IP-Adapter at toy size: tokens like those of words first, then a UNet that reads them."""

import numpy as np
import pytest
import torch
from PIL import Image

from animdiff_cli import generate
from tools.pocket.data import render_chunk
from tools.pocket.image_prompt import FILE, labelled_frames, main, reading_stage, token_stage
from tools.pocket.stages.image_prompt import Pictured, moved
from tools.pocket.world import COLOURS, OBJECTS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    (made := tmp_path_factory.mktemp("work") / "data").mkdir()
    return made


@pytest.fixture(scope="module")
def chunk(folder):
    return render_chunk(folder, 0, 2)


@pytest.fixture
def tokens(chunk):
    return token_stage(labelled_frames([chunk]), batch=4)


def test_frames_have_the_object_and_colour_that_their_captions_name(chunk):
    data = labelled_frames([chunk])
    assert data.images.shape == (32, 64, 64, 3) and data.labels.shape == (32, 2)
    for clip, wordings in enumerate(chunk.captions()):
        kind, colour = data.labels[16 * clip]
        assert OBJECTS[kind] in wordings[0] and COLOURS[colour] in wordings[0]
    assert moved(torch.zeros(2, 3, 64, 64), torch.Generator().manual_seed(0)).std() == pytest.approx(0.1, abs=0.01)


def test_tokens_are_learned_from_the_features_of_words(tokens):
    assert tokens.words.shape == (12, 8, 4, 128)
    red, blue = COLOURS.index("red"), COLOURS.index("blue")
    assert not torch.allclose(tokens.words[0, red], tokens.words[0, blue])
    before = tokens.loss(*tokens.draw())
    before.backward()
    assert tokens.encoder.visual_projection.weight.grad.abs().max() > 0
    assert tokens.accuracy(tokens.pictures[:2], tokens.labels[:2]) in ([0, 0], [0, 0.5], [0.5, 0], [0.5, 0.5], [1, 1])


def test_the_unet_reads_tokens_by_its_keys_and_values_of_text(tokens):
    latents, embeds = torch.randn(1, 16, 4, 16, 16), torch.randn(1, 16, 128)
    words = torch.full((1, 77), 704)
    stage = reading_stage(tokens, Pictured(latents, embeds, words, words[0]), CPU, batch=2)
    noisy, timestep, _, shown, noise = stage.draw()
    with torch.no_grad():
        assert shown.shape == (2, 128) and abs(stage.gain(1)) > 0  # an untrained picture disturbs
    stage.loss(noisy, timestep, words.expand(2, -1), shown, noise).backward()
    assert all(weight.grad is None for weight in stage.unet.parameters())
    assert all(pair[1].weight.grad.abs().max() > 0 for pair in stage.layers)


@pytest.mark.full
def test_the_trained_folder_renders(folder, chunk, tmp_path):
    out, work = tmp_path / "out", folder.parent
    words = ["--work", work, "--out", out, "--clips", 1, "--minutes", 0.001, "--batch", 2, "--tokens-batch", 2]
    assert main(list(map(str, words))) == 0
    assert (out / FILE).is_file()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "black.png")
    prompts = [f"{out}={tmp_path / 'black.png'}"]
    clip = generate("", model="pocket", image_prompts=prompts, steps=1, num_frames=2, seed=1)
    assert clip.frames.shape == (2, 128, 128, 3)
