import math

import pytest
import torch

from animdiff_cli.training.objective import (
    add_noise,
    alphas_cumprod,
    debiased,
    motion_loss,
    mse,
    noise_hiding,
    snr_weights,
    target,
)


def clip(seed=0):
    return torch.randn(2, 5, 4, 3, 3, generator=torch.Generator().manual_seed(seed))


def test_the_schedules_are_the_official_ones():
    linear = torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64)
    scaled = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    for name, betas in (("linear", linear), ("scaled_linear", scaled)):
        torch.testing.assert_close(alphas_cumprod(name).double(), (1 - betas).cumprod(0), rtol=1e-4, atol=1e-6)


def test_noise_and_signal_share_the_power():
    latents, noise = torch.ones(2, 3), torch.full((2, 3), 2.0)
    noisy = add_noise(latents, noise, torch.tensor([0.64, 0.0]))
    torch.testing.assert_close(noisy, torch.tensor([[0.8 + 1.2] * 3, [2.0] * 3]))


def test_from_noisy_latents_and_velocity_follow_clean_latents_and_noise():
    latents, noise, share = clip(), clip(1), torch.tensor([0.3, 0.9])
    noisy, velocity = add_noise(latents, noise, share), target(latents, noise, share, "v_prediction")
    a, b = (x.view(2, 1, 1, 1, 1) for x in (share.sqrt(), (1 - share).sqrt()))
    torch.testing.assert_close(a * noisy - b * velocity, latents)
    torch.testing.assert_close(b * noisy + a * velocity, noise)
    assert target(latents, noise, share) is noise


def test_hiding_noise_shows_nothing_of_the_clip_and_leads_back_to_it():
    latents, shown = torch.randn(2, 3, 4, 8, 8), torch.randn(2, 3, 4, 8, 8)
    alpha_cumprod = alphas_cumprod("linear")[[920, 999]]
    noise = noise_hiding(latents, shown, alpha_cumprod)
    assert torch.allclose(add_noise(latents, noise, alpha_cumprod), shown, atol=1e-5)
    signal, rest = (share.sqrt().view(-1, 1, 1, 1, 1) for share in (alpha_cumprod, 1 - alpha_cumprod))
    assert torch.allclose((shown - rest * noise) / signal, latents, atol=1e-3)


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_debiasing_shrinks_what_frames_share_and_keeps_what_differs(beta):
    still = clip()[:, :1].expand(2, 5, 4, 3, 3)
    anchor = torch.tensor([4, 1])
    alpha = math.sqrt(beta**2 + 1)
    torch.testing.assert_close(debiased(still, anchor, beta), (alpha - beta) * still)
    moving = clip(1)
    out = debiased(moving, anchor, beta)
    torch.testing.assert_close(out[0, 0] - out[0, 1], alpha * (moving[0, 0] - moving[0, 1]))


def test_an_error_in_what_changes_weighs_more_than_one_in_what_stays():
    wanted = clip()
    shift = torch.full_like(wanted, 0.1)
    wobble = shift * torch.tensor([1.0, -1, 1, -1, 1]).view(1, 5, 1, 1, 1)
    anchor = torch.tensor([0, 3])
    flat = torch.ones(2)
    assert mse(wanted + shift, wanted, flat) == pytest.approx(mse(wanted + wobble, wanted, flat).item())
    wobbled = motion_loss(wanted + wobble, wanted, anchor, 1.0, flat)
    assert wobbled > 1.5 * motion_loss(wanted + shift, wanted, anchor, 1.0, flat)
    assert motion_loss(wanted, wanted, anchor, 1.0, flat) == 0
    assert motion_loss(wanted + shift, wanted, anchor, 0.0, flat) == mse(wanted + shift, wanted, flat)


def test_a_small_gamma_lets_the_steps_count_that_are_mostly_noise():
    shares = torch.tensor([0.99, 0.5, 0.01])  # signal-to-noise 99, 1 and 1/99
    torch.testing.assert_close(snr_weights(shares, 0.1), torch.tensor([0.1 / 99, 0.1, 1.0]))
    torch.testing.assert_close(snr_weights(shares, 5.0), torch.tensor([5 / 99, 1.0, 1.0]))
    torch.testing.assert_close(snr_weights(shares, 1e6, "v_prediction"), shares)
    assert snr_weights(shares, None).tolist() == [1.0, 1.0, 1.0]
    predicted, wanted = torch.ones(2, 1), torch.zeros(2, 1)
    assert mse(predicted, wanted, torch.tensor([0.0, 1.0])) == 0.5
