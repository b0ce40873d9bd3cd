"""The training of a ControlNet on outlines, at toy size: it begins as no change, learns, and renders."""

import numpy as np
import pytest
import torch

from animdiff_cli import generate
from animdiff_cli.outputs import write_clip
from tools.pocket.control import draw_outlined, fit_hint, main, make_stage
from tools.pocket.stages.control import MAX_WEIGHT, draw_timesteps, weighted_mse

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data():
    return draw_outlined(2, np.random.default_rng(0))


def test_frames_come_with_their_outlines_and_captions(data):
    assert data.latents.shape == (8, 4, 16, 16) and data.outlines.shape == (8, 128, 128)
    assert set(data.outlines.unique().tolist()) == {0, 255}
    assert 0.3 < data.latents.std() < 3 and data.tokens.shape == (8, 77)


def test_before_training_the_network_changes_nothing_and_one_step_teaches_it(data):
    stage = make_stage(data, CPU, batch=2)
    noisy, timestep, words, outlines, noise = stage.draw()
    with torch.no_grad():
        text = stage.text_encoder(words)[0]
        alone = stage.unet(noisy, timestep, encoder_hidden_states=text).sample.float()
        plain = weighted_mse(alone, noise, stage.alphas_cumprod[timestep])
        assert torch.isclose(stage.loss(noisy, timestep, words, outlines, noise), plain) and stage.gain(1) == 0
    stage.loss(noisy, timestep, words, outlines, noise).backward()
    assert stage.control.controlnet_mid_block.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in stage.unet.parameters())


def test_most_timesteps_are_noisy_and_noisy_frames_count_more():
    timesteps = draw_timesteps(2000, 1000, torch.Generator().manual_seed(0))
    assert 0.77 < (timesteps >= 400).float().mean() < 0.83 and timesteps.min() >= 0 and timesteps.max() < 1000
    error = torch.ones(2, 1, 1, 1)
    assert weighted_mse(error, torch.zeros_like(error), torch.tensor([0.5, 0.001])) == (1 + MAX_WEIGHT) / 2


def test_the_hint_network_alone_learns_from_the_outlines(data):
    stage = make_stage(data, CPU, batch=2)
    outlines = stage.draw()[3]
    before = stage.control.conv_in.weight.clone()
    fit_hint(stage, 3)
    with torch.no_grad():
        assert stage.control.controlnet_cond_embedding(outlines).abs().max() > 0  # its last layer began at zero
    assert torch.equal(stage.control.conv_in.weight, before)


def test_the_trained_folder_renders(tmp_path, capsys):
    words = [
        "--work",
        tmp_path / "work",
        "--out",
        tmp_path / "outlines",
        "--clips",
        1,
        "--batch",
        2,
        "--minutes",
        0.001,
        "--hint-steps",
        1,
    ]
    assert main(list(map(str, words))) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'outlines'}\n" and "1 steps" in said.err
    video = write_clip(np.zeros((2, 128, 128, 3), np.uint8), 8, tmp_path / "black.mp4", "mp4", {"config": {}})
    controls = [f"{tmp_path / 'outlines'}={video}"]
    clip = generate("a red ball", model="pocket", controls=controls, steps=1, num_frames=2, seed=1)
    assert clip.frames.shape == (2, 128, 128, 3)
