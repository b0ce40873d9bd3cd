"""SDXL through the one denoising loop, against diffusers' pipelines and the official computation."""

import shutil
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import AnimateDiffSDXLPipeline, MotionAdapter, StableDiffusionXLPipeline

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.diffusion.build import check_model, load_components
from animdiff_cli.diffusion.conditions import size_ids
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.noise import initial_noise, seeded_generator
from animdiff_cli.diffusion.pipeline import Pipeline, sample_latents, text_conditions
from animdiff_cli.diffusion.schedulers import make_scheduler
from animdiff_cli.diffusion.text import encode_prompt
from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.jobs.generate import generate
from animdiff_cli.motion import load_motion_module, plug
from animdiff_cli.weights.motion import RENAMES, is_position
from tests.motion.reference import OfficialUNet

PLAN = DevicePlan("cpu", 0, "fp32")
SIZES = size_ids(64, 96)


@pytest.fixture
def exact(toy_sdxl_model):
    """Return the parts in float64: random weights under guidance magnify float32 rounding a thousandfold."""
    parts = load_components(toy_sdxl_model, PLAN)
    for part in (parts.unet, parts.vae, parts.text_encoder, parts.text_encoder_2):
        part.to(torch.float64)
    return parts


@pytest.fixture
def small(toy_sdxl_model, toy_sdxl_motion_file):
    return {
        "model": toy_sdxl_model,
        "motion_module": toy_sdxl_motion_file,
        "steps": 2,
        "num_frames": 3,
        "width": 96,
        "height": 64,
        "scheduler": "euler",
        "dtype": "fp32",
    }


def theirs(kind, parts, **more):
    """Build a pipeline of diffusers around the same parts."""
    pipe = kind(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        text_encoder_2=parts.text_encoder_2,
        tokenizer=parts.tokenizer,
        tokenizer_2=parts.tokenizer_2,
        unet=parts.unet,
        **more,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def config_of(*, negative="", clip_skip=0, guidance=7.5, steps=3, beta_end=0.012, frames=3, height=64, width=96):
    return GenerateConfig(
        prompt="a fox",
        negative_prompt=negative,
        model="toy-xl",
        seed=5,
        scheduler="euler",
        beta_schedule="scaled_linear",
        beta_end=beta_end,
        steps=steps,
        guidance_scale=guidance,
        clip_skip=clip_skip,
        num_frames=frames,
        width=width,
        height=height,
    )


def pipeline_of(parts):
    return Pipeline(parts.unet, parts.vae, partial(encode_prompt, parts))


def ours(parts, **settings):
    config = config_of(**settings)
    noise = initial_noise(seeded_generator(5), config.num_frames, 8, 12).double()
    return sample_latents(pipeline_of(parts), config, noise=noise)


@pytest.mark.parametrize(
    ("negative", "clip_skip", "guidance"), [("", 0, 1.0), ("", 0, 7.5), ("blur", 0, 7.5), ("", 1, 7.5)]
)
def test_without_motion_each_frame_is_what_sdxl_draws(exact, negative, clip_skip, guidance):
    pipe = theirs(StableDiffusionXLPipeline, exact, scheduler=make_scheduler("euler", "scaled_linear"))
    latents = ours(exact, negative=negative, clip_skip=clip_skip, guidance=guidance)
    noise = initial_noise(seeded_generator(5), 3, 8, 12).double()
    for frame in range(3):
        still = pipe(
            "a fox",
            negative_prompt=negative or None,
            guidance_scale=guidance,
            clip_skip=clip_skip or None,
            num_inference_steps=3,
            latents=noise[:, :, frame],
            height=64,
            width=96,
            output_type="latent",
        ).images
        assert (still - latents[:, :, frame]).abs().max() < 1e-8 * latents.std()


def test_with_motion_the_loop_walks_the_official_network(exact, toy_sdxl_motion_file):
    motion = load_motion_module(toy_sdxl_motion_file).double()
    official = OfficialUNet(exact.unet, motion.state_dict(), "sdxl")
    prompts = [encode_prompt(exact, prompt) for prompt in ("blur", "a fox")]
    scheduler = make_scheduler("euler", "scaled_linear", beta_end=0.020)
    scheduler.set_timesteps(3)
    latents = initial_noise(seeded_generator(5), 3, 8, 12).double() * scheduler.init_noise_sigma
    with torch.no_grad():
        for t in scheduler.timesteps:
            scaled = scheduler.scale_model_input(latents, t)
            noise_uncond, noise_text = (
                official(scaled, t, prompt.embeds, pooled=prompt.pooled, sizes=SIZES) for prompt in prompts
            )
            latents = scheduler.step(noise_uncond + 7.5 * (noise_text - noise_uncond), t, latents).prev_sample
    plug(exact.unet, motion)
    walked = ours(exact, negative="blur", beta_end=0.020)
    assert (walked - latents).abs().max() < 1e-8 * latents.std()


def test_with_motion_it_is_diffusers_pipeline_once_that_copies_the_added_embedding(exact, toy_sdxl_motion_file):
    """Its UNet leaves `add_embedding` at random; its group norms across frames are right for SDXL."""
    motion = load_motion_module(toy_sdxl_motion_file).double()
    pipe = theirs(
        AnimateDiffSDXLPipeline,
        exact,
        motion_adapter=adapter_of(motion),
        scheduler=make_scheduler("euler", "scaled_linear", beta_end=0.020),
    )
    pipe.unet.double()
    pipe.unet.add_embedding.load_state_dict(exact.unet.add_embedding.state_dict())
    clip = pipe(
        "a fox",
        num_frames=3,
        height=64,
        width=96,
        guidance_scale=7.5,
        num_inference_steps=3,
        latents=initial_noise(seeded_generator(5), 3, 8, 12).double(),
        output_type="latent",
    ).frames
    plug(exact.unet, motion)
    walked = ours(exact, negative="", beta_end=0.020)
    assert (clip - walked).abs().max() < 1e-8 * walked.std()


def adapter_of(motion):
    adapter = MotionAdapter(
        block_out_channels=(32, 64, 64), motion_layers_per_block=1, use_motion_mid_block=False, motion_max_seq_length=32
    )
    renamed = {}
    for key, tensor in motion.state_dict().items():
        name = key.replace(".temporal_transformer.", ".")
        for diffusers, official in RENAMES:
            name = name.replace(official, diffusers)
        if not is_position(key):
            renamed[name] = tensor
    missing = adapter.load_state_dict(renamed, strict=False).missing_keys
    assert all(key.endswith("pos_embed.pe") for key in missing)
    return adapter


def test_an_empty_negative_prompt_is_zeros_where_the_model_was_trained_so(exact):
    text, sdxl = text_conditions(pipeline_of(exact), config_of(negative=""))
    assert not text.embeds[0].any()
    assert not sdxl.pooled[0].any()
    assert text.embeds[1].any()
    assert sdxl.pooled[1].any()
    text, sdxl = text_conditions(pipeline_of(exact), config_of(negative="blur"))
    assert text.embeds[0].any()


def test_sizes_are_told_height_first():
    assert size_ids(768, 1344) == (768, 1344, 0, 0, 768, 1344)


def test_a_clip_comes_out_and_a_seed_decides_it(small):
    once, again, other = (generate("a fox", seed=seed, **small) for seed in (1, 1, 2))
    assert once.frames.shape == (3, 64, 96, 3)
    assert once.frames.std() > 1
    assert np.array_equal(once.frames, again.frames)
    assert (once.frames != other.frames).any()
    assert once.recipe["config"]["beta_schedule"] == "scaled_linear"
    files = once.recipe["weights"]["model"]
    assert {name.split("/")[0] for name in files} == {"unet", "vae", "text_encoder", "text_encoder_2"}


@pytest.mark.parametrize("changed", [{"guidance_scale": 3.0}, {"negative_prompt": "blur"}, {"clip_skip": 1}])
def test_every_setting_changes_the_frames(small, changed):
    assert (generate("a fox", seed=1, **small, **changed).frames != generate("a fox", seed=1, **small).frames).any()


def test_sizes_change_the_picture(exact):
    noise = initial_noise(seeded_generator(5), 2, 8, 12).double()
    configs = [config_of(guidance=1.0, frames=2, height=height) for height in (64, 1080)]
    first, second = (sample_latents(pipeline_of(exact), config, noise=noise) for config in configs)
    assert (first - second).abs().max() > 1e-6


def test_clip_skip_stops_before_the_embeddings(small):
    with pytest.raises(UsageError, match="cannot skip 2 of the 3 layers") as refusal:
        generate("a fox", **small | {"clip_skip": 2})
    assert "at most 1" in refusal.value.hint


def test_a_motion_module_of_sd15_does_not_fit(small, toy_motion_file):
    with pytest.raises(UsageError, match="does not fit the image model"):
        generate("a fox", **small | {"motion_module": toy_motion_file})


def test_half_an_sdxl_folder_is_refused_before_loading(toy_sdxl_model, tmp_path):
    folder = shutil.copytree(toy_sdxl_model, tmp_path / "xl")
    shutil.rmtree(folder / "tokenizer_2")
    with pytest.raises(IntegrityError, match=r"tokenizer_2/tokenizer\.json missing"):
        check_model(folder)


def test_the_vae_stays_in_float32_where_half_precision_would_overflow(toy_sdxl_model):
    parts = load_components(toy_sdxl_model, DevicePlan("cpu", 0, "fp16"))
    assert (parts.vae.dtype, parts.unet.dtype) == (torch.float32, torch.float16)
    assert load_components(toy_sdxl_model, DevicePlan("cpu", 0, "bf16")).vae.dtype == torch.bfloat16


def test_long_prompts_go_through_both_encoders_alike(exact):
    first, second = (encode_prompt(exact, text) for text in ("a fox", "in (snow:1.2)"))
    both = encode_prompt(exact, "a fox BREAK in (snow:1.2)")
    assert (both.embeds - torch.cat([first.embeds, second.embeds], dim=1)).abs().max() < 1e-12
    assert (both.pooled - first.pooled).abs().max() < 1e-12


def test_each_encoder_of_sdxl_keeps_its_own_mean(exact):
    plain, weighted = (encode_prompt(exact, text).embeds for text in ("a fox", "(a fox:1.4)"))
    width = exact.text_encoder.config.hidden_size
    for part in (slice(0, width), slice(width, None)):
        factors = torch.tensor([1.0, *[1.4] * 4, *[1.0] * 72], dtype=torch.float64)[None, :, None]
        expected = plain[..., part] * factors
        expected = expected * (plain[..., part].mean() / expected.mean())
        assert (weighted[..., part] - expected).abs().max() < 1e-9


def test_the_negative_prompt_is_padded_to_the_length_of_the_prompt(exact):
    config = config_of(negative="blur").model_copy(update={"prompt": "a fox BREAK snow"})
    condition, sdxl = text_conditions(pipeline_of(exact), config)
    assert condition.embeds.shape[:2] == (2, 154)
    assert torch.equal(condition.embeds[:1, 77:], encode_prompt(exact, "").embeds)
    assert torch.equal(sdxl.pooled[:1], encode_prompt(exact, "blur").pooled)
    without = config_of().model_copy(update={"prompt": "a fox BREAK snow"})
    assert not text_conditions(pipeline_of(exact), without)[0].embeds[0].any()
