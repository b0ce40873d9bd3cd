"""SparseCtrl against a plain walk through the official network, and under windows."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.curves import series
from animdiff_cli.core.where import Timeline
from animdiff_cli.core.windows import WeightedWindow
from animdiff_cli.diffusion.build import load_components
from animdiff_cli.diffusion.conditions import (
    ClipContext,
    PromptCondition,
    SparseControlCondition,
    Strength,
    UNetCall,
    prepared,
)
from animdiff_cli.diffusion.control import load_control, open_control
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.encode import encode
from animdiff_cli.diffusion.pictures import ClipPictures
from animdiff_cli.diffusion.pipeline import Pipeline, sample_latents
from animdiff_cli.diffusion.text import encode_prompt
from animdiff_cli.errors import IntegrityError
from animdiff_cli.motion import load_motion_module, plug, plugged, unplug
from animdiff_cli.weights.identify import identify
from tests.toy_networks import sparsectrl_tensors

PLAN, FRAMES = DevicePlan("cpu", 0, "fp32"), 4
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def parts(toy_model):
    return load_components(toy_model, PLAN)


@pytest.fixture(scope="module", params=[True, False], ids=["rgb", "scribble"])
def network(request, toy_model, tmp_path_factory):
    """A loaded SparseCtrl in float64 with what its file held, and whether it is rgb."""
    path = tmp_path_factory.mktemp("sparse") / "v3_sd15_sparsectrl.ckpt"
    tensors = sparsectrl_tensors(UNet2DConditionModel.from_pretrained(toy_model / "unet"), rgb=request.param)
    torch.save({"state_dict": tensors}, path)
    assert identify(path).kind == "sparsectrl"
    opened = open_control(path, toy_model)
    assert opened.takes_latents is request.param and opened.spec.max_frames == 32
    loaded = load_control(opened, PLAN)
    return loaded, tensors, request.param


def shown(of_frame=(0, None, 1, None)):
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    return ClipPictures(noise, tuple(of_frame))


def strength(amount=1.0, num_frames=FRAMES):
    return Strength(series(amount, Timeline(num_frames, 8.0, 2, calls=2)))


def official(network, tensors, condition, text, timestep):
    """Walk the official encoder: image layers per frame, temporal transformers along frames. Returns its residuals.

    `condition`: [F, C, h, w] with the mask, zero in frames without a picture; `text`: [rows, L, D].
    """
    rows, frames = len(text), len(condition)
    text = text.repeat_interleave(frames, dim=0)
    emb = network.time_embedding(network.time_proj(torch.full((rows * frames,), timestep)).float())
    noisy = torch.zeros(rows * frames, 4, 8, 8)  # the encoder never sees the noisy latents
    hidden = network.conv_in(noisy) + network.controlnet_cond_embedding(condition).repeat(rows, 1, 1, 1)
    skips = [hidden]
    for level, block in enumerate(network.down_blocks):
        attentions = getattr(block, "attentions", [None] * len(block.resnets))
        for layer, (resnet, attention) in enumerate(zip(block.resnets, attentions, strict=True)):
            hidden = resnet(hidden, emb)
            if attention is not None:
                hidden = attention(hidden, encoder_hidden_states=text, return_dict=False)[0]
            hidden = temporal(
                hidden, tensors, f"down_blocks.{level}.motion_modules.{layer}.temporal_transformer", frames
            )
            skips.append(hidden)
        if block.downsamplers:
            hidden = block.downsamplers[0](hidden)
            skips.append(hidden)
    middle = network.mid_block.resnets[0](hidden, emb)
    middle = network.mid_block.attentions[0](middle, encoder_hidden_states=text, return_dict=False)[0]
    middle = network.mid_block.resnets[1](middle, emb)
    zero_convs = network.controlnet_down_blocks
    return [conv(skip) for conv, skip in zip(zero_convs, skips, strict=True)] + [network.controlnet_mid_block(middle)]


def temporal(hidden, tensors, name, frames):
    """Apply one temporal transformer with one attention of 8 heads, pixel by pixel."""
    own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(name)}
    block = "transformer_blocks.0"
    normed = F.group_norm(hidden, 32, own["norm.weight"], own["norm.bias"], eps=1e-6)
    width, (height, across) = hidden.shape[1], hidden.shape[2:]
    tokens = normed.view(-1, frames, width, height, across).permute(0, 3, 4, 1, 2)  # [rows, h, w, F, D]
    tokens = F.linear(tokens, own["proj_in.weight"], own["proj_in.bias"])
    norm = F.layer_norm(tokens, (width,), own[f"{block}.norms.0.weight"], own[f"{block}.norms.0.bias"])
    norm = norm + sinusoid(frames, width)
    query, key, value = (
        F.linear(norm, own[f"{block}.attention_blocks.0.to_{part}.weight"]).unflatten(-1, (8, width // 8))
        for part in "qkv"
    )
    scores = torch.einsum("...fhd,...ghd->...hfg", query, key) * (width // 8) ** -0.5
    mixed = torch.einsum("...hfg,...ghd->...fhd", scores.softmax(-1), value).flatten(-2)
    out = f"{block}.attention_blocks.0.to_out.0"
    tokens = tokens + F.linear(mixed, own[f"{out}.weight"], own[f"{out}.bias"])
    norm = F.layer_norm(tokens, (width,), own[f"{block}.ff_norm.weight"], own[f"{block}.ff_norm.bias"])
    wide = F.linear(norm, own[f"{block}.ff.net.0.proj.weight"], own[f"{block}.ff.net.0.proj.bias"])
    gated = wide[..., : 4 * width] * F.gelu(wide[..., 4 * width :])
    tokens = tokens + F.linear(gated, own[f"{block}.ff.net.2.weight"], own[f"{block}.ff.net.2.bias"])
    moved = F.linear(tokens, own["proj_out.weight"], own["proj_out.bias"])
    return hidden + moved.permute(0, 3, 4, 1, 2).reshape(hidden.shape)


def sinusoid(frames, width):
    angles = torch.arange(frames)[:, None] * 10000 ** (-torch.arange(0, width, 2) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def official_input(parts, pictures, rgb):
    """Fill a clip of zeros with the pictures at their frames, and a mask as the last channel."""
    images = torch.from_numpy(pictures.pictures).permute(0, 3, 1, 2) / 255
    if rgb:
        images = parts.vae.encode(images * 2 - 1).latent_dist.mean * parts.vae.config.scaling_factor
    condition = torch.zeros(len(pictures.of_frame), images.shape[1] + 1, *images.shape[2:])
    for frame, number in enumerate(pictures.of_frame):
        if number is not None:
            condition[frame, :-1], condition[frame, -1] = images[number], 1
    return condition


def residuals(parts, network, rgb, pictures, text, amount=1.0, frames=None, windows=()):
    """Return what the condition contributes, in one list."""
    count = len(pictures.of_frame)
    through = partial(encode, parts.vae) if rgb else None
    condition = SparseControlCondition(network, pictures, strength(amount, count), through)
    timeline = Timeline(count, 8.0, 2, calls=2)
    clip = ClipContext(timeline, len(text), torch.zeros(1, 4, count, 8, 8), CPU, (PromptCondition(text),))
    frames = list(range(count)) if frames is None else frames
    latents = torch.randn(1, 4, len(frames), 8, 8)
    call = UNetCall(latents, frames, torch.tensor(401), 0, len(text), windows)
    with torch.no_grad(), prepared([condition], parts.unet, clip) as ready:
        found = ready[0].contribute(call)
    return [*found["down_block_additional_residuals"], found["mid_block_additional_residual"]] if found else []


@pytest.fixture(scope="module")
def text():
    return torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(1))


def test_it_computes_what_the_official_network_does(parts, network, text):
    loaded, tensors, rgb = network
    pictures = shown()
    with torch.no_grad(), plugged(loaded).motion.disabled():
        expected = official(loaded, tensors, official_input(parts, pictures, rgb), text, 401)
    found = residuals(parts, loaded, rgb, pictures, text)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() < 1e-4
    half = residuals(parts, loaded, rgb, pictures, text, amount=0.5)
    assert all((one * 0.5 - other).abs().max() < 1e-5 for one, other in zip(found, half, strict=True))


def test_frames_between_pictures_are_steered_too(parts, network, text):
    loaded, _, rgb = network
    one, other = shown(), ClipPictures(255 - shown().pictures, shown().of_frame)
    first, second = (residuals(parts, loaded, rgb, pictures, text) for pictures in (one, other))
    change = (first[-1] - second[-1]).abs().amax(dim=(1, 2, 3)).view(2, FRAMES)
    assert (change[:, [1, 3]] > 1e-4).all()


def test_a_window_without_a_picture_gets_nothing(parts, network, text):
    loaded, _, rgb = network
    assert residuals(parts, loaded, rgb, shown((0, None, None, None)), text, frames=[2, 3]) == []


def test_windows_inside_a_call_are_averaged_by_their_shares(parts, network, text):
    loaded, _, rgb = network
    pictures = shown((0, None, None, 1, None, None))
    first, second = WeightedWindow((0, 1, 2), (1.0, 1.0, 0.25)), WeightedWindow((2, 3), (0.75, 1.0))
    last = WeightedWindow((4, 5), (1.0, 1.0))  # without a picture
    found = residuals(parts, loaded, rgb, pictures, text, windows=(first, second, last))
    alone = [residuals(parts, loaded, rgb, pictures, text, frames=list(w.frames)) for w in (first, second)]
    for layer, whole in enumerate(found):
        whole = whole.unflatten(0, (2, 6))
        one, two = alone[0][layer].unflatten(0, (2, 3)), alone[1][layer].unflatten(0, (2, 2))
        assert (whole[:, :2] - one[:, :2]).abs().max() < 1e-5
        assert (whole[:, 2] - (0.25 * one[:, 2] + 0.75 * two[:, 0])).abs().max() < 1e-5
        assert (whole[:, 3] - two[:, 1]).abs().max() < 1e-5
        assert not whole[:, 4:].any()


@pytest.mark.parametrize("mode", ["unet", "plug"])
def test_a_long_clip_renders_and_its_pictures_matter(parts, network, toy_motion_file, mode):
    loaded, _, rgb = network
    plug(parts.unet, load_motion_module(toy_motion_file))
    try:
        config = GenerateConfig(
            prompt="a fox",
            model="toy",
            seed=5,
            width=64,
            height=64,
            beta_schedule="linear",
            steps=2,
            num_frames=6,
            context_length=4,
            context_overlap=1,
            context_mode=mode,
        )
        found = []
        for pictures in (shown((0, None, None, None, None, None)), shown((1, None, None, None, None, None))):
            through = partial(encode, parts.vae) if rgb else None
            conditions = (SparseControlCondition(loaded, pictures, strength(num_frames=6), through),)
            found.append(
                sample_latents(Pipeline(parts.unet, parts.vae, partial(encode_prompt, parts), conditions), config)
            )
        assert torch.isfinite(found[0]).all()
        assert ((found[0] - found[1]).abs().amax(dim=(0, 1, 3, 4))[:3] > 0.001).all()
    finally:
        unplug(parts.unet)


def test_a_file_that_lacks_a_weight_is_refused(toy_model, tmp_path):
    for lost in (
        "down_blocks.0.resnets.0.conv1.weight",
        "down_blocks.1.motion_modules.0.temporal_transformer.proj_in.bias",
    ):
        tensors = sparsectrl_tensors(UNet2DConditionModel.from_pretrained(toy_model / "unet"), rgb=True)
        del tensors[lost]
        torch.save(tensors, tmp_path / "cut.ckpt")
        with pytest.raises(IntegrityError, match="lacks"):
            load_control(open_control(tmp_path / "cut.ckpt", toy_model), PLAN)
