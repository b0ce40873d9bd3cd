"""Sample clips, and draw the same frames with diffusers' pipelines of still pictures, in float64 or float32."""

from functools import partial

import diffusers
import torch

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.diffusion.build import load_components
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.noise import initial_noise, seeded_generator
from animdiff_cli.diffusion.pipeline import SILENT, Pipeline, sample_latents
from animdiff_cli.diffusion.schedulers import make_scheduler
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
#: the networks that equality is shown for, for `pytest.mark.parametrize`: (base, dtype)
EVERY_BASE = [(base, dtype) for base in ("sd15", "sdxl") for dtype in (torch.float64, torch.float32)]
#: random weights under guidance magnify rounding: under the usual one, pictures of float32 differ by 1.4e-4
GUIDANCE = {torch.float64: 7.5, torch.float32: 2.0}


def exact(model, dtype=torch.float64):
    """Load a model, by default in float64."""
    parts = load_components(model, PLAN)
    for part in (parts.unet, parts.vae, parts.text_encoder, parts.text_encoder_2):
        if part is not None:
            part.to(dtype)
    return parts


def noise_for(num_frames):
    """Return the noise of a clip, [1, 4, F, 8, 8]."""
    return initial_noise(seeded_generator(5), num_frames, 8, 8).double()


def seeded(num_frames):
    """Return a generator for each frame."""
    return [torch.Generator().manual_seed(frame) for frame in range(num_frames)]


def seeded_noise(num_frames, dtype):
    """Return the noise that diffusers draws from `seeded` generators, [1, 4, F, 8, 8]."""
    return torch.stack([torch.randn(4, 8, 8, generator=one, dtype=dtype) for one in seeded(num_frames)], dim=1)[None]


def ours(parts, *conditions, num_known=0, noise=None, callbacks=SILENT, **settings):
    """Sample latents under conditions, [1, 4, F, 8, 8]."""
    config = GenerateConfig(**SETTINGS | {"guidance_scale": GUIDANCE[parts.unet.dtype]} | settings)
    pipe = Pipeline(parts.unet, parts.vae, partial(encode_prompt, parts), conditions)
    noise = (noise_for(config.num_frames) if noise is None else noise).to(parts.unet.dtype)
    return sample_latents(pipe, config, callbacks, noise=noise, num_known=num_known)


def stills(parts, task="", scheduler="ddim", **networks):
    """Build the pipeline of still pictures of diffusers for a task: ``, `ControlNet`, `Img2Img` or `Inpaint`."""
    pipeline = getattr(diffusers, f"StableDiffusion{'XL' * parts.is_sdxl}{task}Pipeline")
    own = {name: getattr(parts, name) for name in ("unet", "vae", "text_encoder", "tokenizer")}
    if parts.is_sdxl:
        own |= {name: getattr(parts, name) for name in ("text_encoder_2", "tokenizer_2")}
        own |= {"add_watermarker": False, "force_zeros_for_empty_prompt": False}
    else:
        own |= {"safety_checker": None, "requires_safety_checker": False, "feature_extractor": None}
    pipe = pipeline(scheduler=make_scheduler(scheduler, "linear"), **own | networks)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drawn(pipe, frames, prompt=PROMPT, **options):
    """Draw the frames of a clip with diffusers, all in one batch: latents [1, 4, N, 8, 8].

    Unless a generator is given, each begins from the noise that the frame has in `noise_for` a clip of three.
    """
    count = len(frames)
    given = {"negative_prompt": [NEGATIVE] * count, "num_inference_steps": SETTINGS["steps"]}
    given["guidance_scale"] = GUIDANCE[pipe.unet.dtype]
    if "generator" not in options:
        noise = noise_for(SETTINGS["num_frames"])[0, :, list(frames)].transpose(0, 1)
        given["latents"] = noise.to(pipe.unet.dtype).contiguous()
    images = pipe([prompt] * count, output_type="latent", **given | options).images
    return images.transpose(0, 1)[None]


def is_close(found, expected, tolerance=1e-7):
    """Compare far more closely than the 1e-4 that float32 allows."""
    return (found - expected).abs().max() < tolerance * expected.std()


def are_equal(parts, found, expected, tolerance=1e-7):
    """Compare latents in float64 as `is_close`; in float32 the pictures, from 0 to 1, by 1e-4."""
    if parts.unet.dtype == torch.float64:
        return is_close(found, expected, tolerance)
    one, other = (_pictures(parts, latents) for latents in (found, expected))
    return (one - other).abs().max() <= 1e-4


@torch.no_grad()
def _pictures(parts, latents):
    images = latents[0].transpose(0, 1) / parts.vae.config.scaling_factor
    return (parts.vae.decode(images).sample / 2 + 0.5).clamp(0, 1)
