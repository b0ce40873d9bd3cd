"""IP-Adapter: each frame is what diffusers' pipeline of still pictures draws from its picture."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPImageProcessor

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.diffusion.build import load_components
from animdiff_cli.diffusion.conditions import ImagePromptCondition, Strength
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.image_prompt import load_ip_adapter, open_ip_adapter
from animdiff_cli.diffusion.noise import initial_noise, seeded_generator
from animdiff_cli.diffusion.pictures import ClipPictures
from animdiff_cli.diffusion.pipeline import Pipeline, sample_latents
from animdiff_cli.diffusion.schedulers import make_scheduler
from animdiff_cli.diffusion.text import encode_prompt
from tests.toy_networks import flat, ip_adapter_tensors, make_image_encoder

FRAMES, STEPS, SIDE, PROMPT, NEGATIVE = 3, 3, 32, "a fox", "blur"
PLAN = DevicePlan("cpu", 0, "fp32")


class Toy:
    """An image model, an image encoder and IP-Adapters of random weights, in float64.

    Random weights under guidance magnify float32 rounding a thousandfold.
    """

    def __init__(self, model, folder):
        self.model, self.folder = model, folder
        self.parts = load_components(model, PLAN)
        for part in (self.parts.unet, self.parts.vae, self.parts.text_encoder, self.parts.text_encoder_2):
            if part is not None:
                part.to(torch.float64)
        self.encoder = make_image_encoder().double()

    def network(self, variant="plain", seed=0):
        tensors = self.tensors(variant, seed)
        path = self.folder / f"{variant}-{seed}.safetensors"
        save_file(flat(tensors), path)
        loaded = load_ip_adapter(open_ip_adapter(path, self.model), self.encoder, PLAN)
        loaded.projection.double()
        keys, values = ([tensor.double() for tensor in tensors] for tensors in (loaded.keys, loaded.values))
        return type(loaded)(self.encoder, loaded.projection, keys, values, loaded.is_plain)

    def tensors(self, variant, seed=0):
        return ip_adapter_tensors(self.parts.unet, variant, seed, width=16 if variant == "plain" else 32)

    def ours(self, *conditions, **settings):
        own = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "model": "toy", "seed": 5, "width": 64, "height": 64}
        own |= {"beta_schedule": "linear", "steps": STEPS, "num_frames": FRAMES}
        parts = self.parts
        pipe = Pipeline(parts.unet, parts.vae, partial(encode_prompt, parts), conditions)
        config = GenerateConfig(**own | settings)
        return sample_latents(pipe, config, noise=initial_noise(seeded_generator(5), config.num_frames, 8, 8).double())

    def theirs(self, adapters, images, frame, scales, prompt=PROMPT, guidance_scale=7.5):
        """Latents that diffusers' pipeline of still pictures draws for one frame, from the noise of that frame."""
        parts = self.parts
        kind = StableDiffusionXLPipeline if parts.is_sdxl else StableDiffusionPipeline
        own = {name: getattr(parts, name) for name in ("vae", "text_encoder", "tokenizer")}
        own["unet"] = copy.deepcopy(parts.unet)  # an IP-Adapter stays in it
        if parts.is_sdxl:
            own |= {"text_encoder_2": parts.text_encoder_2, "tokenizer_2": parts.tokenizer_2, "add_watermarker": False}
        else:
            own |= {"safety_checker": None, "requires_safety_checker": False}
        size = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
        pipe = kind(
            scheduler=make_scheduler("ddim", "linear"),
            image_encoder=self.encoder,
            feature_extractor=CLIPImageProcessor(**size),
            **own,
        )
        pipe.set_progress_bar_config(disable=True)
        given = [self.tensors(*adapter) for adapter in adapters]
        pipe.load_ip_adapter(given, subfolder=[""] * len(given), weight_name=[""] * len(given))
        pipe.set_ip_adapter_scale(list(scales))
        pipe.unet.to(torch.float64)
        noise = initial_noise(seeded_generator(5), FRAMES, 8, 8)[:, :, frame].double()
        return pipe(
            prompt,
            negative_prompt=NEGATIVE,
            ip_adapter_image=[Image.fromarray(image) for image in images],
            latents=noise.clone(),
            num_inference_steps=STEPS,
            guidance_scale=guidance_scale,
            output_type="latent",
        ).images


@pytest.fixture(scope="module")
def toy(toy_model, tmp_path_factory):
    return Toy(toy_model, tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def sdxl(toy_sdxl_model, tmp_path_factory):
    return Toy(toy_sdxl_model, tmp_path_factory.mktemp("adapters-xl"))


def is_close(found, expected):
    """Far closer than the 1e-4 that float32 allows."""
    return (found - expected).abs().max() < 1e-5 * expected.std()


def shown(of_frame=range(FRAMES), seed=0):
    """Random pictures, and which of them each frame shows."""
    count = 1 + max(number for number in of_frame if number is not None)
    noise = np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    return ClipPictures(noise, tuple(of_frame))


def condition(network, pictures, scale=1.0, start=0.0, end=1.0):
    return ImagePromptCondition(network, pictures, Strength(scale, start, end))


@pytest.mark.parametrize(
    ("variant", "scale", "guidance"), [("plain", 1.0, 7.5), ("plain", 0.6, 1.0), ("plus", 0.7, 7.5), ("full", 1.0, 7.5)]
)
def test_without_motion_each_frame_is_what_diffusers_draws(toy, variant, scale, guidance):
    pictures = shown()
    found = toy.ours(condition(toy.network(variant), pictures, scale), guidance_scale=guidance)
    for frame in range(FRAMES):
        expected = toy.theirs([(variant,)], [pictures.pictures[frame]], frame, [scale], guidance_scale=guidance)
        assert is_close(found[:, :, frame], expected), frame
    assert (found - toy.ours(guidance_scale=guidance)).abs().max() > 0.01


@pytest.mark.parametrize("variant", ["plain", "plus"])
def test_sdxl_too(sdxl, variant):
    pictures = shown(of_frame=(0, 0, 1))
    found = sdxl.ours(condition(sdxl.network(variant), pictures, 0.8))
    for frame in (0, 2):
        expected = sdxl.theirs([(variant,)], [pictures.pictures[pictures.of_frame[frame]]], frame, [0.8])
        assert is_close(found[:, :, frame], expected), frame
