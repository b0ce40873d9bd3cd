import math

import pytest
import torch

from animdiff_cli.training.objective import (
    add_noise,
    alphas_cumprod,
    debiased,
    motion_loss,
    mse_loss,
    noise_between,
    prediction_target,
    snr_weights,
)


def clip(seed=0):
    return torch.randn(2, 5, 4, 3, 3, generator=torch.Generator().manual_seed(seed))


def test_noise_schedules_equal_the_official_ones():
    linear = torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64)
    scaled = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    for name, betas in (("linear", linear), ("scaled_linear", scaled)):
        torch.testing.assert_close(alphas_cumprod(name).double(), (1 - betas).cumprod(0), rtol=1e-4, atol=1e-6)


def test_zero_terminal_snr_keeps_the_first_timestep_and_ends_in_pure_noise():
    plain = (1 - torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64)).cumprod(0).sqrt()
    expected = ((plain - plain[-1]) * plain[0] / (plain[0] - plain[-1])).square()  # 2305.08891, algorithm 1
    table = alphas_cumprod("linear", rescale_betas_zero_snr=True)
    torch.testing.assert_close(table.double(), expected, rtol=1e-3, atol=1e-6)
    assert table[-1] == 0
    latents, noise = clip(), clip(1)
    last = table[[999, 999]]
    assert torch.equal(add_noise(latents, noise, last), noise)
    assert torch.equal(prediction_target(latents, noise, last, "v_prediction"), -latents)
    for kind, weight in (("epsilon", 1.0), ("v_prediction", 0.0), ("sample", 0.0)):
        assert snr_weights(last, 5.0, kind).tolist() == [weight] * 2


def test_add_noise_mixes_by_square_roots():
    latents, noise = torch.ones(2, 3), torch.full((2, 3), 2.0)
    noisy = add_noise(latents, noise, torch.tensor([0.64, 0.0]))
    torch.testing.assert_close(noisy, torch.tensor([[0.8 + 1.2] * 3, [2.0] * 3]))


def test_latents_and_noise_follow_from_noisy_latents_and_velocity():
    latents, noise, share = clip(), clip(1), torch.tensor([0.3, 0.9])
    noisy, velocity = add_noise(latents, noise, share), prediction_target(latents, noise, share, "v_prediction")
    a, b = (x.view(2, 1, 1, 1, 1) for x in (share.sqrt(), (1 - share).sqrt()))
    torch.testing.assert_close(a * noisy - b * velocity, latents)
    torch.testing.assert_close(b * noisy + a * velocity, noise)
    assert prediction_target(latents, noise, share) is noise
    assert prediction_target(latents, noise, share, "sample") is latents


def test_noise_between_gives_the_requested_noisy_latents():
    latents, shown = torch.randn(2, 3, 4, 8, 8), torch.randn(2, 3, 4, 8, 8)
    alpha_cumprod = alphas_cumprod("linear")[[920, 999]]
    noise = noise_between(latents, shown, alpha_cumprod)
    assert torch.allclose(add_noise(latents, noise, alpha_cumprod), shown, atol=1e-5)
    signal, rest = (share.sqrt().view(-1, 1, 1, 1, 1) for share in (alpha_cumprod, 1 - alpha_cumprod))
    assert torch.allclose((shown - rest * noise) / signal, latents, atol=1e-3)


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_debiasing_shrinks_appearance_and_scales_differences(beta):
    still = clip()[:, :1].expand(2, 5, 4, 3, 3)
    anchor = torch.tensor([4, 1])
    alpha = math.sqrt(beta**2 + 1)
    torch.testing.assert_close(debiased(still, anchor, beta), (alpha - beta) * still)
    moving = clip(1)
    out = debiased(moving, anchor, beta)
    torch.testing.assert_close(out[0, 0] - out[0, 1], alpha * (moving[0, 0] - moving[0, 1]))


def test_motion_errors_weigh_more_than_appearance_errors():
    target = clip()
    shift = torch.full_like(target, 0.1)
    wobble = shift * torch.tensor([1.0, -1, 1, -1, 1]).view(1, 5, 1, 1, 1)
    anchor = torch.tensor([0, 3])
    flat = torch.ones(2)
    assert mse_loss(target + shift, target, flat) == pytest.approx(mse_loss(target + wobble, target, flat).item())
    wobbled = motion_loss(target + wobble, target, anchor, 1.0, flat)
    assert wobbled > 1.5 * motion_loss(target + shift, target, anchor, 1.0, flat)
    assert motion_loss(target, target, anchor, 1.0, flat) == 0
    assert motion_loss(target + shift, target, anchor, 0.0, flat) == mse_loss(target + shift, target, flat)


def test_a_small_gamma_emphasizes_noisy_timesteps():
    shares = torch.tensor([0.99, 0.5, 0.01])  # signal-to-noise 99, 1 and 1/99
    torch.testing.assert_close(snr_weights(shares, 0.1), torch.tensor([0.1 / 99, 0.1, 1.0]))
    torch.testing.assert_close(snr_weights(shares, 5.0), torch.tensor([5 / 99, 1.0, 1.0]))
    torch.testing.assert_close(snr_weights(shares, 1e6, "v_prediction"), shares)
    torch.testing.assert_close(snr_weights(shares, 5.0, "sample"), torch.tensor([5.0, 1.0, 1 / 99]))
    assert snr_weights(shares, None).tolist() == [1.0, 1.0, 1.0]
    predicted, target = torch.ones(2, 1), torch.zeros(2, 1)
    assert mse_loss(predicted, target, torch.tensor([0.0, 1.0])) == 0.5
