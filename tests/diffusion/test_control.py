"""ControlNet: each frame is what diffusers' pipeline of still pictures draws; frames without a picture are free."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from PIL import Image

from animdiff_cli.core.curves import Curve
from animdiff_cli.diffusion.conditions import ControlCondition, Strength, control
from animdiff_cli.diffusion.pictures import ClipPictures
from animdiff_cli.motion import load_motion_module, plug, unplug
from tests.diffusion.exact import EVERY_BASE, PROMPT, are_equal, drawn, is_close, ours, stills

FRAMES = 3
FLOAT64 = torch.float64


def control_for(unet, seed=0, **config):
    """Build a ControlNet of random weights for a UNet, with no convolution at zero."""
    torch.manual_seed(seed)
    network = ControlNetModel.from_unet(unet)
    network.register_to_config(**config)
    for name, parameter in network.named_parameters():
        if name.startswith(("controlnet_down", "controlnet_mid", "controlnet_cond_embedding.conv_out")):
            parameter.data.normal_(std=0.05)
    return network.to(unet.dtype).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network(exact_model):
    return control_for(exact_model.unet)


def shown(seed=0, of_frame=range(FRAMES)):
    """Random pictures, and which of them each frame shows."""
    count = 1 + max(number for number in of_frame if number is not None)
    noise = np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    return ClipPictures(noise, tuple(of_frame))


def condition(network, pictures, amount=1.0, start=0.0, end=1.0, **options):
    return ControlCondition(network, pictures, Strength(amount, start, end), **options)


def theirs(parts, controls, frames=range(FRAMES), **options):
    """What diffusers draws with controls (network, pictures, scale)."""
    networks, pictures, scales = zip(*controls, strict=True)
    images = [[Image.fromarray(one.pictures[one.of_frame[frame]]) for frame in frames] for one in pictures]
    pipe = stills(parts, "ControlNet", controlnet=networks[0] if len(networks) == 1 else list(networks))
    given = {"image": images[0], "controlnet_conditioning_scale": scales[0]}
    if len(networks) > 1:  # takes one picture of each network
        assert len(frames) == 1
        given = {"image": [one for (one,) in images], "controlnet_conditioning_scale": list(scales)}
    return drawn(pipe, frames, **given | options)


CASES = {
    "scale": ({"amount": 0.6}, {}),
    "a part of the steps": ({"start": 0.2, "end": 0.8}, {"control_guidance_start": 0.2, "control_guidance_end": 0.8}),
    "guess mode": ({"guess_mode": True}, {"guess_mode": True}),
    "without guidance": ({}, {"guidance_scale": 1.0}),
}


@pytest.mark.parametrize(
    ("base", "dtype", "case"),
    [
        *((*base, "scale") for base in EVERY_BASE),
        *(("sd15", FLOAT64, case) for case in CASES if case != "scale"),
        ("sdxl", FLOAT64, "guess mode"),
    ],
)
def test_without_motion_each_frame_is_what_diffusers_draws(models, base, dtype, case):
    parts, pictures = models(base, dtype), shown()
    network, (own, options) = control_for(parts.unet), CASES[case]
    guidance = {key: value for key, value in options.items() if key == "guidance_scale"}
    found = ours(parts, condition(network, pictures, **own), **guidance)
    assert are_equal(parts, found, theirs(parts, [(network, pictures, own.get("amount", 1.0))], **options))
    assert (found - ours(parts, **guidance)).abs().max() > 0.01


@pytest.mark.parametrize("is_same", [False, True], ids=["two networks", "one network twice"])
def test_several_add_up(exact_model, network, is_same):
    other = network if is_same else control_for(exact_model.unet, seed=1)
    first, second = (network, shown(0), 0.7), (other, shown(1), 0.4)
    found = ours(exact_model, condition(*first), condition(*second))
    assert is_close(found[:, :, 1:2], theirs(exact_model, [first, second], [1]))


def test_in_guess_mode_the_network_runs_for_the_row_with_text_alone(exact_model, network):
    seen = []
    handle = network.register_forward_pre_hook(lambda _m, args, kwargs: seen.append(len(args[0])), with_kwargs=True)
    ours(exact_model, condition(network, shown(), guess_mode=True), steps=2)
    handle.remove()
    assert seen == [FRAMES] * 2


def test_shuffle_pools_its_features_as_in_diffusers(exact_model):
    network, pictures = control_for(exact_model.unet, global_pool_conditions=True), shown()
    found = ours(exact_model, condition(network, pictures))
    assert is_close(found, theirs(exact_model, [(network, pictures, 1.0)]))


def test_the_order_of_colours_is_that_of_the_network(exact_model):
    network, pictures = control_for(exact_model.unet, controlnet_conditioning_channel_order="bgr"), shown()
    found = ours(exact_model, condition(network, pictures))
    assert is_close(found, theirs(exact_model, [(network, pictures, 1.0)]))


def test_a_curve_scales_each_frame_and_prompts_that_travel_reach_the_network(exact_model, network):
    pictures = shown(of_frame=(0, 0, 0))
    own = condition(network, pictures, Curve.parse("0:1,2:0"))
    found = ours(exact_model, own, prompt={"0": PROMPT, "2": "a boat"})
    assert is_close(found[:, :, :1], theirs(exact_model, [(network, pictures, 1.0)], [0]))
    assert is_close(found[:, :, 2:], ours(exact_model, prompt="a boat")[:, :, 2:])
    steady = ours(exact_model, own)
    assert is_close(steady[:, :, 1:2], theirs(exact_model, [(network, pictures, 0.5)], [1]))
    assert (found[:, :, 1] - steady[:, :, 1]).abs().max() > 0.001


def test_a_frame_without_a_picture_stays_as_it_is_without_motion(exact_model, network):
    found, free = ours(exact_model, condition(network, shown(of_frame=(0, None, 1)))), ours(exact_model)
    assert is_close(found[:, :, 1], free[:, :, 1])
    assert min((found[:, :, frame] - free[:, :, frame]).abs().max() for frame in (0, 2)) > 0.01


def test_a_scale_of_0_changes_no_bit(exact_model, network):
    assert torch.equal(ours(exact_model, condition(network, shown(), 0.0)), ours(exact_model))


def test_the_network_is_as_before_and_features_are_computed_once_per_picture(exact_model, network):
    embedding, processors, seen = network.controlnet_cond_embedding, dict(network.attn_processors), []
    handle = embedding.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    ours(exact_model, condition(network, shown(of_frame=(0, 1, 0))))
    handle.remove()
    assert seen == [2]
    assert network.controlnet_cond_embedding is embedding and network.attn_processors == processors
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_features_of_a_long_clip_are_the_same_from_a_file(exact_model, network, monkeypatch):
    in_memory = ours(exact_model, condition(network, shown()))
    monkeypatch.setattr(control, "MAX_IN_MEMORY", 0)
    left = set(Path(tempfile.gettempdir()).glob("animdiff-*"))
    assert torch.equal(ours(exact_model, condition(network, shown())), in_memory)
    assert set(Path(tempfile.gettempdir()).glob("animdiff-*")) <= left


@pytest.mark.parametrize("mode", ["unet", "plug"])
def test_windows_see_the_pictures_of_their_frames(exact_model, network, toy_motion_file, mode):
    plug(exact_model.unet, load_motion_module(toy_motion_file))
    try:
        settings = {"num_frames": 6, "context_length": 4, "context_overlap": 2, "context_mode": mode, "steps": 2}
        still = shown(of_frame=(0,) * 6)
        cut = ClipPictures(np.stack([still.pictures[0], 255 - still.pictures[0]]), (0, 0, 0, 0, 0, 1))
        all_same, last_differs = (
            ours(exact_model, condition(network, pictures), **settings) for pictures in (still, cut)
        )
        change = (all_same - last_differs).abs().amax(dim=(0, 1, 3, 4))
        assert change[5] > 0.01  # its own picture
        if mode == "unet":
            assert change[2] > 0.001  # shares a window with frame 5
    finally:
        unplug(exact_model.unet)


def test_known_frames_of_a_continued_clip_are_free(exact_model, network):
    seen = []
    handle = network.register_forward_pre_hook(lambda _m, args, kwargs: seen.append(len(args[0])), with_kwargs=True)
    ours(exact_model, condition(network, shown()), num_known=2, num_frames=FRAMES + 2, steps=2)
    handle.remove()
    assert set(seen) == {2 * FRAMES}
