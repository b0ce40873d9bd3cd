"""Several motion modules against the plain computation: frames plus the weighted sum of what each module adds."""

import pytest
import torch

from animdiff_cli.core.curves import Curve, series
from animdiff_cli.core.where import Timeline
from animdiff_cli.diffusion.conditions import (
    MotionScaleCondition,
    MotionWeightsCondition,
    PromptCondition,
    prepared,
)
from animdiff_cli.diffusion.predictors import unet_predictor
from animdiff_cli.motion import plug, plugged, unplug
from animdiff_cli.motion.mix import mix
from tests.toy_networks import ANY_CLIP

CLIP = Timeline(num_frames=5, fps=8, steps=2)
TIMESTEP = torch.tensor(500)


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(1, 4, 5, 8, 8, generator=generator, dtype=torch.float64)
    return latents, torch.randn(2, 7, 24, generator=generator, dtype=torch.float64)


@torch.no_grad()
def predict(unet, inputs, *conditions, frames=range(5)):
    latents, text = inputs
    with prepared([PromptCondition(text), *conditions], unet, ANY_CLIP) as ready:
        return unet_predictor(unet, ready, rows=2)(latents[:, :, list(frames)], TIMESTEP, 0, frames)


def weights(*amounts):
    return MotionWeightsCondition([series(amount, CLIP) for amount in amounts])


def expected(unet, inputs, motions, by_module, frames=range(5)):
    """Plug the first module in, and replace what its transformers return by the sum over all modules."""
    first, *_ = motions

    def summed(name):
        def hook(transformer, args, out):
            if hook.busy:
                return out
            hook.busy = True
            hidden = args[0]
            total = hidden
            for motion, values in zip(motions, by_module, strict=True):
                factors = torch.tensor(values, dtype=torch.float64)[list(frames)].repeat(2)[:, None, None, None]
                total = total + factors * (motion.transformer(name)(hidden, len(frames)) - hidden)
            hook.busy = False
            return total

        hook.busy = False
        return hook

    plug(unet, first)
    hooks = [first.transformer(name).register_forward_hook(summed(name)) for name in first.spec.widths()]
    try:
        return predict(unet, inputs, frames=frames)
    finally:
        for hook in hooks:
            hook.remove()
        unplug(unet)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("frames", [range(5), [4, 0, 1]])
def test_modules_add_up_by_their_weights(make_unet, make_motion, inputs, version, frames):
    unet = make_unet()
    motions = [make_motion(unet, version, seed) for seed in (1, 2, 3)]
    by_module = [[0.5] * 5, [0, 0.25, 0.5, 0.75, 1], [-0.2] * 5]
    plain = expected(unet, inputs, motions, by_module, frames)
    plug(unet, mix(motions))
    mixed = predict(unet, inputs, weights(0.5, Curve.parse("0:0,100%:1"), -0.2), frames=frames)
    assert (mixed - plain).abs().max() < 1e-10


def test_one_of_two_at_full_weight_is_that_one(make_unet, make_motion, inputs):
    unet = make_unet()
    plug(unet, make_motion(unet, seed=2))
    alone = predict(unet, inputs)
    half = predict(unet, inputs, MotionScaleCondition(series(0.5, CLIP)))
    unplug(unet)
    plug(unet, mix([make_motion(unet, seed=1), make_motion(unet, seed=2)]))
    assert (predict(unet, inputs, weights(0.0, 1.0)) - alone).abs().max() < 1e-10
    both = predict(unet, inputs, weights(0.0, 1.0), MotionScaleCondition(series(0.5, CLIP)))
    assert (both - half).abs().max() < 1e-10


def test_a_mix_is_converted_to_the_precision_of_the_unet(make_unet, make_motion, inputs):
    unet = make_unet()
    motions = [make_motion(unet, seed=seed) for seed in (1, 2)]
    plug(unet, mix([make_motion(unet, seed=seed) for seed in (1, 2)]))
    exact = predict(unet, inputs, weights(0.3, 0.7))
    unplug(unet)
    plug(unet, mix([motion.float() for motion in motions]))
    assert {parameter.dtype for parameter in plugged(unet).motion.parameters()} == {torch.float64}
    assert (predict(unet, inputs, weights(0.3, 0.7)) - exact).abs().max() < 1e-4
