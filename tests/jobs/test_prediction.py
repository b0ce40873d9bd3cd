"""Image models that predict velocities, on a noise schedule that ends in pure noise."""

import json
import shutil

import pytest
import torch

from animdiff_cli import generate
from animdiff_cli.config.layers import Layer
from animdiff_cli.core.events import Loading
from animdiff_cli.diffusion.build import load_components
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.model_settings import with_prediction
from animdiff_cli.jobs.train_plan import plan_training, sample_settings
from animdiff_cli.jobs.train_stages import build_models, build_motion
from animdiff_cli.training.data.batches import Batch


@pytest.fixture
def v_model(toy_model, tmp_path):
    """Return a toy model that says it predicts velocities with zero terminal SNR."""
    model = shutil.copytree(toy_model, tmp_path / "v")
    path = model / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text()) | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    path.write_text(json.dumps(config))
    return model


@pytest.fixture
def plan_lora(toy_motion_file, tmp_path):
    def plan(model, **settings):
        values = {"model": str(model), "motion_module": str(toy_motion_file), "out": str(tmp_path / "run")}
        values |= {"data.videos": "nowhere", "data.num_frames": 2, "dtype": "fp32", "spatial_rank": 0, "debias": 0}
        return plan_training("motion-lora", [Layer("test", values | settings)], device="cpu")

    return plan


def test_a_training_predicts_what_the_image_model_predicts(v_model, plan_lora):
    plan = plan_lora(v_model)
    assert (plan.config.prediction_type, plan.config.rescale_betas_zero_snr) == ("v_prediction", True)
    assert plan.resolved.origins["prediction_type"] == "image model v"
    samples = sample_settings(plan.config, (64, 64))
    assert (samples.prediction_type, samples.rescale_betas_zero_snr) == ("v_prediction", True)
    components = load_components(v_model, DevicePlan("cpu", 0, "fp32"))
    models = build_models(plan, components, build_motion(plan, lambda event: None))
    latents, noise = torch.randn(2, 1, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    text, last = torch.randn(1, 77, components.unet.config.cross_attention_dim), torch.tensor([999])
    batch = Batch(latents, noise, text, last, torch.tensor([0]), mask_spatial=False)
    with models.motion.frames(2), torch.no_grad():
        predicted = components.unet(noise[0], 999, text).sample  # shared text: one row for all frames
    loss = models.stage.losses.video_loss(batch, models.motion, 0.0, 1.0)
    torch.testing.assert_close(loss, (predicted + latents[0]).square().mean(), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scheduler": "heun"}, "the scheduler heun cannot rescale betas to zero terminal SNR"),
        ({"prediction_type": "epsilon"}, "cannot start from zero terminal SNR"),
        ({"prediction_type": "sample", "scheduler": "euler"}, "euler does not support the prediction type sample"),
    ],
)
def test_what_a_scheduler_cannot_sample_is_refused_before_weights_load(v_model, settings, said):
    loaded = []
    with pytest.raises(UsageError, match=said):
        generate(
            "a fox",
            model=v_model,
            motion_module=None,
            emit=lambda event: loaded.append(event) if isinstance(event, Loading) else None,
            **settings,
        )
    assert not loaded


def test_a_training_refuses_noise_prediction_with_zero_terminal_snr(toy_model, plan_lora):
    with pytest.raises(UsageError, match="cannot start from zero terminal SNR"):
        plan_lora(toy_model, rescale_betas_zero_snr=True)
    assert plan_lora(toy_model).config.prediction_type == "epsilon"


def test_the_model_decides_below_the_settings_of_the_user(v_model):
    chosen = [Layer("--model", {"model": str(v_model)})]
    assert with_prediction(chosen)[0].values == {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    assert with_prediction(chosen)[1:] == chosen
    elsewhere = [Layer("--model", {"model": "toonyou"})]
    assert with_prediction(elsewhere) == elsewhere
