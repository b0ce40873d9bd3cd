"""PIA: equal to diffusers' `PIAPipeline` on random weights, and the UNet is afterwards what it was."""

import warnings
from dataclasses import replace
from functools import partial

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    MotionAdapter,
    PIAPipeline,
    UNet2DConditionModel,
    UNetMotionModel,
)
from PIL import Image
from torch.nn.functional import conv2d
from transformers import CLIPTextModel, CLIPTokenizer

from animdiff_cli import load
from animdiff_cli.core.where import Timeline
from animdiff_cli.diffusion.conditions import ClipContext, PiaCondition, UNetCall
from animdiff_cli.diffusion.encode import encode
from animdiff_cli.diffusion.noise import seeded_generator
from animdiff_cli.diffusion.pipeline import sample_latents
from animdiff_cli.diffusion.schedulers import make_scheduler
from animdiff_cli.jobs.convert import convert_weights, plan_conversion
from animdiff_cli.jobs.source_images import read_images
from animdiff_cli.motion.spec import TRAITS, VersionTraits

FRAMES, SIZE, STEPS = 5, 64, 3


@pytest.fixture
def as_in_diffusers(monkeypatch):
    """Compute norms as diffusers does: over all frames in temporal transformers, per frame in ResNets."""
    traits = VersionTraits(max_frames=32, trained_frames=16, mid_block=False, norm_across_frames=True)
    monkeypatch.setitem(TRAITS, "pia", traits)


def in_diffusers(model, module, folder, scheduler):
    """Build diffusers' pipeline in float64 whose VAE draws its mean, as this program takes it."""
    vae = AutoencoderKL.from_pretrained(model / "vae")
    with torch.no_grad():
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = -60  # log variance
    converted = convert_weights(plan_conversion(str(module), "diffusers", output=folder))
    adapter = MotionAdapter.from_pretrained(converted.path)
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = PIAPipeline(
            vae=vae,
            text_encoder=CLIPTextModel.from_pretrained(model / "text_encoder"),
            tokenizer=CLIPTokenizer.from_pretrained(model / "tokenizer"),
            unet=UNetMotionModel.from_unet2d(unet, adapter),
            scheduler=scheduler,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(torch.float64)


@pytest.mark.parametrize(
    ("scheduler", "settings", "motion_scale"),
    [
        ("ddim", {"pia_magnitude": 2}, 2),
        ("euler", {"pia_variant": "style", "pia_magnitude": 1, "guidance_scale": 1.0}, 7),
    ],
)
def test_latents_equal_those_of_diffusers(
    toy_model, toy_pia_file, picture, tmp_path, as_in_diffusers, scheduler, settings, motion_scale
):
    guidance = settings.get("guidance_scale", 3.0)
    animator = load(
        model=toy_model,
        motion_module=toy_pia_file,
        images=[picture],
        num_frames=FRAMES,
        width=SIZE,
        height=SIZE,
        steps=STEPS,
        scheduler=scheduler,
        seed=1,
        dtype="fp32",
        negative_prompt="blur" if guidance > 1 else "",
        **settings | {"guidance_scale": guidance},
    )
    parts = animator.components
    for network in (parts.unet, parts.vae, parts.text_encoder, animator.motion):
        network.double()
    config = animator._resolved(animator.plan.configs[0].model_copy(update={"prompt": "a fox"}))
    noise = torch.randn(1, 4, FRAMES, 8, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    condition = read_images(config, partial(encode, parts.vae), animator.pia)
    image = Image.open(picture).resize((SIZE, SIZE))
    theirs = in_diffusers(toy_model, toy_pia_file, tmp_path / "adapter", make_scheduler(scheduler, "linear"))
    theirs._guidance_scale = 1.0
    mask, shown = theirs.prepare_masked_condition(
        image, 1, 4, FRAMES, SIZE, SIZE, torch.float64, torch.device("cpu"), seeded_generator(0), motion_scale
    )
    channels = torch.cat([mask, shown], dim=1)
    torch.testing.assert_close(condition.channels.double(), channels, rtol=1e-5, atol=1e-5)
    condition = replace(condition, channels=channels)  # a VAE encodes in float32 here
    ours = sample_latents(replace(animator.pipeline, conditions=(condition,)), config, noise=noise)
    clip = theirs(
        image=image,
        prompt="a fox",
        negative_prompt="blur",
        num_frames=FRAMES,
        width=SIZE,
        height=SIZE,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        motion_scale=motion_scale,
        latents=noise.clone(),
        generator=seeded_generator(0),
        output_type="latent",
    ).frames
    assert (ours - clip).abs().max() < 1e-7 * clip.std()


def test_the_unet_is_afterwards_what_it_was(make_unet):
    unet = make_unet()
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    own = unet.conv_in.weight
    channels, weight = torch.rand(1, 5, 4, 8, 8), torch.rand(32, 5, 3, 3)
    context = ClipContext(Timeline(4, 8.0, 1), 1, torch.zeros(1, 4, 4, 8, 8), torch.device("cpu"))
    with pytest.raises(KeyError), PiaCondition(channels, weight).prepare(unet, context) as ready:
        call = UNetCall(torch.zeros(1, 4, 2, 8, 8).double(), [3, 1], torch.tensor(1), 0, 2)
        given = ready.contribute(call)["extra_channels"]
        assert torch.equal(given, channels[0, :, [3, 1, 3, 1]].transpose(0, 1).double())
        x = torch.rand(2, 9, 8, 8).double()
        of_latents = conv2d(x[:, :4], own, unet.conv_in.bias, padding=1)
        of_picture = conv2d(x[:, 4:], weight.double(), padding=1)
        torch.testing.assert_close(unet.conv_in(x), of_latents + of_picture)
        raise KeyError
    assert unet.conv_in.weight is own and unet.conv_in.in_channels == 4
    assert all(torch.equal(value, before[key]) for key, value in unet.state_dict().items())


def test_official_norms_are_those_of_v1_with_the_positions_of_v3():
    assert TRAITS["pia"] == replace(TRAITS["v1"], max_frames=32)
