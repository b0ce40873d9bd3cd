"""The motion scale against the plain computation: frames without motion plus so much of what the module adds."""

import pytest
import torch

from animdiff_cli.core.curves import Curve, series
from animdiff_cli.core.where import Timeline
from animdiff_cli.diffusion.conditions import MotionScaleCondition, PromptCondition, prepared
from animdiff_cli.diffusion.predictors import unet_predictor
from animdiff_cli.motion import plug, plugged
from tests.toy_networks import ANY_CLIP

TIMESTEP = torch.tensor(500)
CLIP = Timeline(num_frames=6, fps=8, steps=2)


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(1, 4, 6, 8, 8, generator=generator, dtype=torch.float64)
    return latents, torch.randn(2, 7, 24, generator=generator, dtype=torch.float64)


@torch.no_grad()
def predict(unet, inputs, scale=None, frames=range(6), step=0):
    latents, text = inputs
    conditions = [PromptCondition(text, share_early_layers=True)]
    if scale is not None:
        conditions.append(MotionScaleCondition(series(scale, CLIP)))
    with prepared(conditions, unet, ANY_CLIP) as ready:
        return unet_predictor(unet, ready, rows=2)(latents[:, :, list(frames)], TIMESTEP, step, frames)


def expected(unet, inputs, by_frame, frames=range(6)):
    """Compute the prediction with temporal transformers whose outputs are scaled afterwards."""
    factors = torch.tensor(by_frame, dtype=torch.float64)[list(frames)].repeat(2)[:, None, None, None]
    motion = plugged(unet).motion
    hooks = [
        motion.transformer(name).register_forward_hook(lambda _, args, out: args[0] + factors * (out - args[0]))
        for name in motion.spec.widths()
    ]
    try:
        return predict(unet, inputs, None, frames)
    finally:
        for hook in hooks:
            hook.remove()


@pytest.fixture(params=["v1", "v2", "v3"])
def unet(request, make_unet, make_motion):
    unet = make_unet()
    plug(unet, make_motion(unet, request.param))
    return unet


def test_a_scale_of_one_changes_no_bit_and_leaves_nothing_behind(unet, inputs):
    plain = predict(unet, inputs)
    assert torch.equal(predict(unet, inputs, 1.0), plain)
    assert torch.equal(predict(unet, inputs, Curve.parse("0:1,-1:1")), plain)
    assert not torch.equal(predict(unet, inputs, 0.5), plain)
    assert torch.equal(predict(unet, inputs), plain)


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0])
def test_one_number_scales_the_motion_of_every_frame(unet, inputs, scale):
    assert (predict(unet, inputs, scale) - expected(unet, inputs, [scale] * 6)).abs().max() < 1e-10


def test_a_curve_over_frames_follows_the_frames_of_a_window(unet, inputs):
    curve = Curve.parse("0:0,100%:2.5")
    assert (predict(unet, inputs, curve) - expected(unet, inputs, [0, 0.5, 1, 1.5, 2, 2.5])).abs().max() < 1e-10
    window = [4, 5, 0, 1]  # of a loop
    found = predict(unet, inputs, curve, window)
    assert (found - expected(unet, inputs, [0, 0.5, 1, 1.5, 2, 2.5], window)).abs().max() < 1e-10


def test_a_curve_over_steps_follows_the_steps(unet, inputs):
    curve = Curve.parse("steps:0:1,1:0.25")
    assert torch.equal(predict(unet, inputs, curve, step=0), predict(unet, inputs))
    assert (predict(unet, inputs, curve, step=1) - expected(unet, inputs, [0.25] * 6)).abs().max() < 1e-10


def test_a_scale_of_zero_leaves_the_frames_of_v3_to_the_image_model(make_unet, make_motion, inputs):
    unet = make_unet()
    stills = predict(unet, inputs)
    plug(unet, make_motion(unet, "v3"))
    assert torch.equal(predict(unet, inputs, 0.0), stills)


def test_stills_have_no_motion_to_scale(make_unet, inputs):
    unet = make_unet()
    assert torch.equal(predict(unet, inputs, 0.5), predict(unet, inputs))
