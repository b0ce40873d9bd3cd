"""Sample clips with networks in float64, to compare them with diffusers' pipelines of still pictures."""

from functools import partial

import torch

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.diffusion.build import load_components
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.noise import initial_noise, seeded_generator
from animdiff_cli.diffusion.pipeline import Pipeline, sample_latents
from animdiff_cli.diffusion.text import encode_prompt

PLAN = DevicePlan("cpu", 0, "fp32")
PROMPT, NEGATIVE = "a fox", "blur"
#: of a clip of three frames of 64 x 64 pixels
SETTINGS = {
    "prompt": PROMPT,
    "negative_prompt": NEGATIVE,
    "model": "toy",
    "seed": 5,
    "beta_schedule": "linear",
    "width": 64,
    "height": 64,
    "steps": 3,
    "num_frames": 3,
}


def exact(model):
    """Load a model in float64: random weights under guidance magnify float32 rounding a thousandfold."""
    parts = load_components(model, PLAN)
    for part in (parts.unet, parts.vae, parts.text_encoder, parts.text_encoder_2):
        if part is not None:
            part.to(torch.float64)
    return parts


def noise_for(num_frames):
    """Return the noise of a clip, [1, 4, F, 8, 8]."""
    return initial_noise(seeded_generator(5), num_frames, 8, 8).double()


def ours(parts, *conditions, num_known=0, **settings):
    """Sample latents under conditions, [1, 4, F, 8, 8]."""
    config = GenerateConfig(**SETTINGS | settings)
    pipe = Pipeline(parts.unet, parts.vae, partial(encode_prompt, parts), conditions)
    return sample_latents(pipe, config, noise=noise_for(config.num_frames), num_known=num_known)


def of_stills(parts):
    """Return the parts as the pipelines of diffusers take them."""
    own = {name: getattr(parts, name) for name in ("unet", "vae", "text_encoder", "tokenizer")}
    if parts.is_sdxl:
        return (
            own
            | {name: getattr(parts, name) for name in ("text_encoder_2", "tokenizer_2")}
            | {"add_watermarker": False}
        )
    return own | {"safety_checker": None, "requires_safety_checker": False}


def is_close(found, expected, tolerance=1e-7):
    """Compare far more closely than the 1e-4 that float32 allows."""
    return (found - expected).abs().max() < tolerance * expected.std()
