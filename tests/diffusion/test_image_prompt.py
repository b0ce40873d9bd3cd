"""IP-Adapter: each frame is what diffusers' pipeline of still pictures draws from its picture."""

import copy

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPImageProcessor

from animdiff_cli.core.curves import Blend, Curve
from animdiff_cli.core.where import Timeline
from animdiff_cli.diffusion import cross_attention
from animdiff_cli.diffusion.conditions import ControlCondition, ImagePromptCondition, Strength
from animdiff_cli.diffusion.conditions.image_prompt import picture_blends
from animdiff_cli.diffusion.image_prompt import load_ip_adapter, open_ip_adapter
from animdiff_cli.diffusion.pictures import ClipPictures
from animdiff_cli.motion import load_motion_module, plug, unplug
from tests.diffusion import exact
from tests.diffusion.exact import EVERY_BASE, PLAN, PROMPT, are_equal, drawn, is_close, stills
from tests.toy_networks import flat, ip_adapter_tensors, make_image_encoder

FRAMES, SIDE = 3, 32


class Toy:
    """An image model, an image encoder and IP-Adapters of random weights."""

    def __init__(self, parts, model, folder):
        self.parts, self.model, self.folder = parts, model, folder
        self.encoder = make_image_encoder().to(parts.unet.dtype)

    def network(self, variant="plain", seed=0):
        path, dtype = self.folder / f"{variant}-{seed}.safetensors", self.parts.unet.dtype
        save_file(flat(self.tensors(variant, seed)), path)
        loaded = load_ip_adapter(open_ip_adapter(path, self.model), self.encoder, PLAN)
        loaded.projection.to(dtype)
        keys, values = ([tensor.to(dtype) for tensor in tensors] for tensors in (loaded.keys, loaded.values))
        return type(loaded)(self.encoder, loaded.projection, keys, values, loaded.is_plain)

    def tensors(self, variant, seed=0):
        return ip_adapter_tensors(self.parts.unet, variant, seed, width=16 if variant == "plain" else 32)

    def ours(self, *conditions, **settings):
        return exact.ours(self.parts, *conditions, **settings)

    def theirs(self, adapters, pictures, scales, frames=range(FRAMES), **options):
        """Latents of frames that diffusers' pipeline of still pictures draws, each from its pictures."""
        size = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
        pipe = stills(
            self.parts,
            unet=copy.deepcopy(self.parts.unet),  # an IP-Adapter stays in it
            image_encoder=self.encoder,
            feature_extractor=CLIPImageProcessor(**size),
        )
        given = [self.tensors(*adapter) for adapter in adapters]
        pipe.load_ip_adapter(given, subfolder=[""] * len(given), weight_name=[""] * len(given))
        pipe.set_ip_adapter_scale(list(scales))
        pipe.unet.to(self.parts.unet.dtype)

        def one(frame):
            images = [Image.fromarray(each.pictures[each.of_frame[frame]]) for each in pictures]
            return drawn(pipe, [frame], ip_adapter_image=images, **options)

        return torch.cat([one(frame) for frame in frames], dim=2)


@pytest.fixture(scope="module")
def toy_of(models, toy_model, toy_sdxl_model, tmp_path_factory):
    """A function that returns the `Toy` of a base and a dtype."""
    folders = {"sd15": toy_model, "sdxl": toy_sdxl_model}
    return lambda base, dtype: Toy(models(base, dtype), folders[base], tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def toy(toy_of):
    return toy_of("sd15", torch.float64)


def shown(of_frame=range(FRAMES), seed=0):
    """Random pictures, and which of them each frame shows."""
    count = 1 + max(number for number in of_frame if number is not None)
    noise = np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    return ClipPictures(noise, tuple(of_frame))


def condition(network, pictures, scale=1.0, start=0.0, end=1.0):
    return ImagePromptCondition(network, pictures, Strength(scale, start, end))


@pytest.mark.parametrize(
    ("base", "dtype", "variant", "scale", "guidance"),
    [
        *((*base, "plus", 0.7, {}) for base in EVERY_BASE),
        ("sd15", torch.float64, "plain", 1.0, {}),
        ("sd15", torch.float64, "plain", 0.6, {"guidance_scale": 1.0}),
        ("sd15", torch.float64, "full", 1.0, {}),
        ("sdxl", torch.float64, "plain", 0.8, {}),
    ],
)
def test_without_motion_each_frame_is_what_diffusers_draws(toy_of, base, dtype, variant, scale, guidance):
    toy, pictures = toy_of(base, dtype), shown(of_frame=(0, 0, 1))
    found = toy.ours(condition(toy.network(variant), pictures, scale), **guidance)
    expected = toy.theirs([(variant,)], [pictures], [scale], frames=(0, 2), **guidance)
    assert are_equal(toy.parts, found[:, :, ::2], expected, 1e-5)
    assert (found - toy.ours(**guidance)).abs().max() > 0.01


def test_several_add_up_as_in_diffusers(toy):
    first, second = shown(seed=1), shown(seed=2)
    found = toy.ours(condition(toy.network(), first, 0.7), condition(toy.network("plus", 1), second, 0.4))
    expected = toy.theirs([("plain",), ("plus", 1)], [first, second], [0.7, 0.4], frames=[1])
    assert is_close(found[:, :, 1:2], expected, 1e-5)


def test_prompts_and_scales_may_change_over_the_frames(toy):
    pictures = shown(of_frame=(0, 0, 0))
    travel = {"0": PROMPT, "2": "a boat"}
    found = toy.ours(condition(toy.network(), pictures, Curve.parse("0:1,2:0.5")), prompt=travel)
    for frame, text, scale in ((0, PROMPT, 1.0), (2, "a boat", 0.5)):
        expected = toy.theirs([("plain",)], [pictures], [scale], [frame], prompt=text)
        assert is_close(found[:, :, frame : frame + 1], expected, 1e-5)


def test_between_two_pictures_a_frame_reads_the_mean_of_their_tokens(toy):
    network, pictures = toy.network("plus"), shown(of_frame=(0, None, 1))
    found = toy.ours(condition(network, pictures))
    first, second, empty = network.tokens(pictures)

    class Mean:
        keys, values = network.keys, network.values

        def tokens(self, pictures):
            return torch.stack([(first + second) / 2, empty])

    assert is_close(found[:, :, 1], toy.ours(condition(Mean(), shown(of_frame=(0, 0, 0))))[:, :, 1], 1e-5)
    assert (found[:, :, 1] - found[:, :, 0]).abs().max() > 0.01


def test_frames_without_a_picture_have_those_around_them_and_known_frames_the_first():
    pictures = shown(of_frame=(None, 0, None, 1))
    assert picture_blends(pictures, Timeline(4, 8.0, 1, num_known=2)) == [
        *[Blend(0, 0, 0.0)] * 4,
        Blend(0, 1, 0.5),
        Blend(1, 1, 0.0),
    ]
    assert picture_blends(pictures, Timeline(4, 8.0, 1, loop=True))[0] == Blend(1, 0, 0.5)


def test_text_that_differs_by_frame_gives_the_same_result(toy, monkeypatch):
    """Where keys and values of the text change by frame, as under LoRAs with a curve, text is not shared."""
    given = condition(toy.network(), shown(of_frame=(0, 1, 1)), Curve.parse("0:1,2:0.5"))
    shared = toy.ours(given)
    monkeypatch.setattr(cross_attention, "_is_plain", lambda attention: False)
    assert is_close(toy.ours(given), shared)


def test_controls_do_not_see_the_picture(toy):
    """As in diffusers: a ControlNet reads the text alone."""
    torch.manual_seed(0)
    control = ControlNetModel.from_unet(toy.parts.unet).double()
    processors = dict(control.attn_processors)
    pictures = ClipPictures(np.zeros((1, 64, 64, 3), np.uint8), (0,) * FRAMES)
    both = (condition(toy.network(), shown()), ControlCondition(control, pictures, Strength(1.0)))
    assert is_close(toy.ours(*both), toy.ours(both[0]))  # its last convolutions are zero
    assert control.attn_processors == processors


def test_a_scale_of_0_changes_no_bit_and_the_unet_is_as_before(toy):
    processors = dict(toy.parts.unet.attn_processors)
    assert torch.equal(toy.ours(condition(toy.network(), shown(), 0.0)), toy.ours())
    assert toy.parts.unet.attn_processors == processors


def test_a_part_of_the_steps_is_that_part(toy):
    none, some, all_steps = (toy.ours(condition(toy.network(), shown(), end=end)) for end in (0.1, 0.5, 1.0))
    assert torch.equal(none, toy.ours())
    assert (some - none).abs().max() > 0.001 and (some - all_steps).abs().max() > 0.001


def test_each_picture_is_encoded_once_per_clip(toy):
    seen = []
    handle = toy.encoder.register_forward_pre_hook(lambda _m, args: seen.append(len(args[0])))
    toy.ours(condition(toy.network(), shown(of_frame=(0, 1, 0))))
    handle.remove()
    assert seen == [2]


@pytest.mark.parametrize("mode", ["unet", "plug"])
def test_windows_see_the_pictures_of_their_frames(toy, toy_motion_file, mode):
    plug(toy.parts.unet, load_motion_module(toy_motion_file))
    try:
        settings = {"num_frames": 6, "context_length": 4, "context_overlap": 2, "context_mode": mode, "steps": 1}
        two = shown(of_frame=(0, 1)).pictures
        given = (ClipPictures(two, (0,) * 6), ClipPictures(two, (0, 0, 0, 0, 0, 1)))
        same, last_differs = (toy.ours(condition(toy.network(), pictures), **settings) for pictures in given)
        change = (same - last_differs).abs().amax(dim=(0, 1, 3, 4))
        assert change[5] > 0.01  # its own picture
        if mode == "unet":
            assert change[2] > 0.0001  # shares a window with frame 5
    finally:
        unplug(toy.parts.unet)
