"""ControlNet: each frame is what diffusers' pipeline of still pictures draws; frames without a picture are free."""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionXLControlNetPipeline
from PIL import Image

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.curves import Curve, series
from animdiff_cli.core.where import Timeline
from animdiff_cli.diffusion.build import load_components
from animdiff_cli.diffusion.conditions import ControlCondition, Strength, control
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.noise import initial_noise, seeded_generator
from animdiff_cli.diffusion.pictures import ClipPictures
from animdiff_cli.diffusion.pipeline import Pipeline, sample_latents
from animdiff_cli.diffusion.schedulers import make_scheduler
from animdiff_cli.diffusion.text import encode_prompt
from animdiff_cli.motion import load_motion_module, plug, unplug

FRAMES, STEPS, PROMPT, NEGATIVE = 3, 4, "a fox", "blur"


@pytest.fixture(scope="module")
def parts(toy_model):
    return exact(toy_model)


@pytest.fixture(scope="module")
def sdxl(toy_sdxl_model):
    return exact(toy_sdxl_model)


def exact(model):
    """Load in float64: random weights under guidance magnify float32 rounding a thousandfold."""
    parts = load_components(model, DevicePlan("cpu", 0, "fp32"))
    for part in (parts.unet, parts.vae, parts.text_encoder, parts.text_encoder_2):
        if part is not None:
            part.to(torch.float64)
    return parts


def is_close(found, expected):
    """Far closer than the 1e-4 that float32 allows."""
    return (found - expected).abs().max() < 1e-7 * expected.std()


def control_for(unet, seed=0, **config):
    """Build a ControlNet of random weights for a UNet, with no convolution at zero."""
    torch.manual_seed(seed)
    network = ControlNetModel.from_unet(unet)
    network.register_to_config(**config)
    for name, parameter in network.named_parameters():
        if name.startswith(("controlnet_down", "controlnet_mid", "controlnet_cond_embedding.conv_out")):
            parameter.data.normal_(std=0.05)
    return network.double().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network(parts):
    return control_for(parts.unet)


def shown(seed=0, of_frame=range(FRAMES)):
    """Random pictures, and which of them each frame shows."""
    count = 1 + max(number for number in of_frame if number is not None)
    noise = np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    return ClipPictures(noise, tuple(of_frame))


def strength(amount=1.0, start=0.0, end=1.0, num_frames=FRAMES):
    return Strength(series(amount, Timeline(num_frames, 8.0, STEPS, calls=STEPS)), start, end)


def ours(parts, *conditions, **settings):
    own = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "model": "toy", "seed": 5, "width": 64, "height": 64}
    own |= {"beta_schedule": "linear", "steps": STEPS, "num_frames": FRAMES}
    pipe = Pipeline(parts.unet, parts.vae, partial(encode_prompt, parts), conditions)
    config = GenerateConfig(**own | settings)
    return sample_latents(pipe, config, noise=initial_noise(seeded_generator(5), config.num_frames, 8, 8).double())


def theirs(parts, networks, pictures, frame, scales=1.0, **options):
    """Latents that diffusers' pipeline of still pictures draws for one frame, from the noise of that frame."""
    kind = StableDiffusionXLControlNetPipeline if parts.is_sdxl else StableDiffusionControlNetPipeline
    own = {name: getattr(parts, name) for name in ("unet", "vae", "text_encoder", "tokenizer")}
    if parts.is_sdxl:
        own |= {"text_encoder_2": parts.text_encoder_2, "tokenizer_2": parts.tokenizer_2, "add_watermarker": False}
    else:
        own |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipe = kind(controlnet=list(networks), scheduler=make_scheduler("ddim", "linear"), **own)
    pipe.set_progress_bar_config(disable=True)
    images = [Image.fromarray(one.pictures[one.of_frame[frame]]) for one in pictures]
    noise = initial_noise(seeded_generator(5), FRAMES, 8, 8)[:, :, frame].double()
    options = {"guidance_scale": 7.5, "num_inference_steps": STEPS, "output_type": "latent"} | options
    given = {"negative_prompt": NEGATIVE, "controlnet_conditioning_scale": scales, "latents": noise.clone()}
    return pipe(PROMPT, image=images, **given, **options).images


CASES = {
    "plain": ({}, {}, {}),
    "scale": ({"amount": 0.6}, {}, {"scales": 0.6}),
    "a part of the steps": (
        {"start": 0.2, "end": 0.8},
        {},
        {"control_guidance_start": 0.2, "control_guidance_end": 0.8},
    ),
    "guess mode": ({}, {"guess_mode": True}, {"guess_mode": True}),
    "without guidance": ({}, {}, {"guidance_scale": 1.0}),
}


@pytest.mark.parametrize("case", CASES)
def test_without_motion_each_frame_is_what_diffusers_draws(parts, network, case):
    at, own, options = CASES[case]
    pictures = shown()
    found = ours(
        parts,
        ControlCondition(network, pictures, strength(**at), **own),
        guidance_scale=options.get("guidance_scale", 7.5),
    )
    if isinstance(options.get("scales"), float):
        options = options | {"scales": [options["scales"]]}
    for frame in range(FRAMES):
        expected = theirs(parts, [network], [pictures], frame, **{"scales": [1.0]} | options)
        assert is_close(found[:, :, frame], expected), frame
    assert (found - ours(parts, guidance_scale=options.get("guidance_scale", 7.5))).abs().max() > 0.01


@pytest.mark.parametrize("guess_mode", [False, True])
def test_sdxl_too(sdxl, guess_mode):
    network, pictures = control_for(sdxl.unet), shown()
    found = ours(sdxl, ControlCondition(network, pictures, strength(0.8), guess_mode))
    for frame in range(FRAMES):
        expected = theirs(sdxl, [network], [pictures], frame, scales=[0.8], guess_mode=guess_mode)
        assert is_close(found[:, :, frame], expected), frame
    assert (found - ours(sdxl)).abs().max() > 0.01


def test_several_add_up(parts, network):
    other, first, second = control_for(parts.unet, seed=1), shown(0), shown(1)
    conditions = [ControlCondition(network, first, strength(0.7)), ControlCondition(other, second, strength(0.4))]
    found = ours(parts, *conditions)
    for frame in range(FRAMES):
        expected = theirs(parts, [network, other], [first, second], frame, scales=[0.7, 0.4])
        assert is_close(found[:, :, frame], expected)


def test_shuffle_pools_its_features_as_in_diffusers(parts):
    network, pictures = control_for(parts.unet, global_pool_conditions=True), shown()
    found = ours(parts, ControlCondition(network, pictures, strength()))
    for frame in range(FRAMES):
        expected = theirs(parts, [network], [pictures], frame, scales=[1.0])
        assert is_close(found[:, :, frame], expected)


def test_the_order_of_colours_is_that_of_the_network(parts):
    network, pictures = control_for(parts.unet, controlnet_conditioning_channel_order="bgr"), shown()
    found = ours(parts, ControlCondition(network, pictures, strength()))
    expected = theirs(parts, [network], [pictures], 1, scales=[1.0])
    assert is_close(found[:, :, 1], expected)


def test_a_curve_scales_each_frame(parts, network):
    pictures = shown(of_frame=(0, 0, 0))
    found = ours(parts, ControlCondition(network, pictures, strength(Curve.parse("0:0,2:1"))))
    for frame, scale in enumerate((0.0, 0.5, 1.0)):
        expected = theirs(parts, [network], [pictures], frame, scales=[scale])
        assert is_close(found[:, :, frame], expected)


def test_a_frame_without_a_picture_stays_as_it_is_without_motion(parts, network):
    found = ours(parts, ControlCondition(network, shown(of_frame=(0, None, 1)), strength()))
    free = ours(parts)
    assert is_close(found[:, :, 1], free[:, :, 1])
    assert min((found[:, :, frame] - free[:, :, frame]).abs().max() for frame in (0, 2)) > 0.01


def test_a_scale_of_0_changes_no_bit(parts, network):
    assert torch.equal(ours(parts, ControlCondition(network, shown(), strength(0.0))), ours(parts))


def test_the_network_is_as_before_after_a_clip(parts, network):
    embedding = network.controlnet_cond_embedding
    processors = dict(network.attn_processors)
    ours(parts, ControlCondition(network, shown(), strength()))
    assert network.controlnet_cond_embedding is embedding and network.attn_processors == processors
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_features_are_computed_once_per_picture_and_clip(parts, network):
    seen = []
    handle = network.controlnet_cond_embedding.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    ours(parts, ControlCondition(network, shown(of_frame=(0, 1, 0)), strength()))
    handle.remove()
    assert seen == [2]


def test_features_of_a_long_clip_are_the_same_from_a_file(parts, network, monkeypatch):
    in_memory = ours(parts, ControlCondition(network, shown(), strength()))
    monkeypatch.setattr(control, "MAX_IN_MEMORY", 0)
    left = set(Path(tempfile.gettempdir()).glob("animdiff-*"))
    assert torch.equal(ours(parts, ControlCondition(network, shown(), strength())), in_memory)
    assert set(Path(tempfile.gettempdir()).glob("animdiff-*")) <= left


@pytest.mark.parametrize("mode", ["unet", "plug"])
def test_windows_see_the_pictures_of_their_frames(parts, network, toy_motion_file, mode):
    plug(parts.unet, load_motion_module(toy_motion_file))
    try:
        settings = {"num_frames": 6, "context_length": 4, "context_overlap": 2, "context_mode": mode}
        still = shown(of_frame=(0,) * 6)
        cut = ClipPictures(np.stack([still.pictures[0], 255 - still.pictures[0]]), (0, 0, 0, 0, 0, 1))
        all_same, last_differs = (
            ours(parts, ControlCondition(network, pictures, strength(num_frames=6)), **settings)
            for pictures in (still, cut)
        )
        change = (all_same - last_differs).abs().amax(dim=(0, 1, 3, 4))
        assert change[5] > 0.01  # its own picture
        if mode == "unet":
            assert change[2] > 0.001  # shares a window with frame 5
    finally:
        unplug(parts.unet)


def test_prompts_that_travel_reach_the_network(parts, network):
    pictures = shown(of_frame=(0, 0, 0))
    found = ours(parts, ControlCondition(network, pictures, strength()), prompt={"0": PROMPT, "2": "a boat"})
    expected = theirs(parts, [network], [pictures], 0, scales=[1.0])
    assert is_close(found[:, :, 0], expected)
    same = ours(parts, ControlCondition(network, pictures, strength()))
    assert (found[:, :, 2] - same[:, :, 2]).abs().max() > 0.001


def test_known_frames_of_a_continued_clip_are_free(parts, network):
    seen = []
    handle = network.register_forward_pre_hook(lambda _m, args, kwargs: seen.append(len(args[0])), with_kwargs=True)
    pipe = Pipeline(
        parts.unet, parts.vae, partial(encode_prompt, parts), (ControlCondition(network, shown(), strength()),)
    )
    config = GenerateConfig(
        prompt="x", model="toy", seed=1, width=64, height=64, beta_schedule="linear", steps=2, num_frames=FRAMES + 2
    )
    sample_latents(pipe, config, num_known=2)
    handle.remove()
    assert set(seen) == {2 * FRAMES}
