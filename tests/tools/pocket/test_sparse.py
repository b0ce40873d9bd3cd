"""The training of a SparseCtrl at toy size: frames first, then clips with its motion module."""

import numpy as np
import pytest
import torch
from PIL import Image

from animdiff_cli import generate
from tools.pocket.control import control_stage, draw_outlined
from tools.pocket.data import render_chunk
from tools.pocket.latents import Clips
from tools.pocket.loop import load_trained
from tools.pocket.sparse import build_sparse, clips_stage, learn_blank, main

CPU = torch.device("cpu")


@pytest.fixture
def frames():
    return control_stage(build_sparse, "latents", draw_outlined(1, np.random.default_rng(0)), CPU, 4)


def test_the_encoder_sees_a_picture_as_the_unet_sees_a_frame(frames):
    noisy, _, _, shown, _ = frames.draw()
    picture = shown[:, :4]
    seen = frames.control.conv_in(torch.zeros_like(noisy)) + frames.control.controlnet_cond_embedding(shown)
    assert torch.allclose(seen, frames.unet.conv_in(picture), atol=0.05)
    assert (shown[:, 4] == 1).all()


@pytest.mark.full
def test_it_learns_to_add_nothing_where_there_is_no_picture(frames):
    noisy, timestep, words, shown, _ = frames.draw()
    with torch.no_grad():
        for layer in (*frames.control.controlnet_down_blocks, frames.control.controlnet_mid_block):
            layer.weight.normal_(std=0.1)

        def added(condition):
            text = frames.text_encoder(words)[0]
            unseen = torch.zeros_like(noisy)
            return frames.control(unseen, timestep, text, controlnet_cond=condition, return_dict=False)[1].float()

        pictured, blank = added(shown).square().mean(), added(torch.zeros_like(shown)).square().mean()
    learn_blank(frames, 12)
    with torch.no_grad():
        assert added(torch.zeros_like(shown)).square().mean() < 0.7 * blank
        assert added(shown).square().mean() > 0.5 * pictured


def test_pictures_are_at_one_or_two_frames_and_the_new_module_does_nothing_yet(frames):
    latents = torch.randn(2, 16, 4, 16, 16).half()
    tokens = frames.data.tokens[:1, None].expand(2, 8, -1)
    stage = clips_stage(frames, Clips(latents, tokens, frames.data.no_words), CPU, batch=2)
    noisy, timestep, words, shown, noise = stage.draw()
    counts = shown[:, 4, 0, 0].view(2, 16).sum(1)
    assert noise.shape == (2, 16, 4, 16, 16) and set(counts.tolist()) <= {1.0, 2.0}
    assert shown[shown[:, 4, 0, 0] == 0].abs().max() == 0
    with torch.no_grad(), stage.spread.frames(16):
        text = stage.text_encoder(words)[0]
        unseen = torch.zeros_like(noisy)
        with_module = stage.control(unseen, timestep, text, controlnet_cond=shown, return_dict=False)[1]
        with stage.spread.disabled():
            without = stage.control(unseen, timestep, text, controlnet_cond=shown, return_dict=False)[1]
    assert torch.equal(with_module, without)
    stage.loss(noisy, timestep, words, shown, noise).backward()
    assert all(weight.grad is None for module in (stage.unet, stage.motion) for weight in module.parameters())


@pytest.mark.full
def test_the_trained_file_renders(tmp_path):
    work, out = tmp_path / "work", tmp_path / "sparse.safetensors"
    (work / "data").mkdir(parents=True)
    render_chunk(work / "data", 0, 1)
    words = ["--work", work, "--out", out, "--frame-clips", 1, "--clips", 1, "--blank-steps", 1, "--minutes", 0.001]
    assert main(list(map(str, words))) == 0
    assert load_trained(work / "noisiest.pt").complete
    picture = tmp_path / "picture.png"
    Image.fromarray(np.zeros((128, 128, 3), np.uint8)).save(picture)
    clip = generate("a red ball", model="pocket", controls=[f"{out}={picture}"], steps=1, num_frames=2, seed=1)
    assert clip.frames.shape == (2, 128, 128, 3)
