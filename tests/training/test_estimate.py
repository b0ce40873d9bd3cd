"""Memory estimates, compared with meta tensors at true size."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel

from animdiff_cli.diffusion.cross_attention import share_text
from animdiff_cli.motion import MotionModule, plug
from animdiff_cli.training.estimate import largest_layer, remedies, saved_activations
from animdiff_cli.training.gradient_checkpointing import enable_gradient_checkpointing
from animdiff_cli.training.lora_layers import LoraLayers, image_projections, motion_projections
from animdiff_cli.weights.model_configs import shipped_config

SIDE = 64  # latent pixels: pictures of 512
VERSIONS = {"sd15": "v2", "sdxl": "sdxl"}


@pytest.fixture
def fused_attention(monkeypatch):
    """Use the memory-efficient kernel that GPUs use: on meta tensors, the default one saves all attention scores."""
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda q, k, v, *_, scale=None, **__: fused(q, k, v, scale=scale)[0]
    )


def count_saved(base, stage, frames, *, gradient_checkpointing):
    """Run the UNet on meta tensors; return the numbers saved per frame and latent pixel."""
    saved, config = {}, shipped_config(base, "unet")
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config).eval().requires_grad_(False)
        share_text(unet)
        motion = None if stage == "domain-adapter" else MotionModule.from_unet(unet, VERSIONS[base]).to("meta")
        if motion is not None:
            motion.requires_grad_(stage == "motion-module")
            plug(unet, motion)
        if stage != "motion-module":
            LoraLayers.new(image_projections(unet) if motion is None else motion_projections(motion), 64)
        if gradient_checkpointing:
            enable_gradient_checkpointing(unet, motion)
        modules = [module for module in (unet, motion) if module is not None]
        weights = {p.untyped_storage()._cdata for module in modules for p in module.parameters()}

        def save(tensor):
            storage = tensor.untyped_storage()
            if storage._cdata not in weights:
                saved[storage._cdata] = storage  # keeps the storage alive, so that its address is not reused
            return tensor

        added = {"text_embeds": torch.randn(frames, 1280), "time_ids": torch.randn(frames, 6)}
        text = torch.randn(1, 77, config["cross_attention_dim"])
        latents = torch.randn(frames, 4, SIDE, SIDE)
        hooks = torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor)
        with motion.frames(frames) if motion else nullcontext(), hooks:
            unet(latents, torch.zeros(frames), text, added_cond_kwargs=added if base == "sdxl" else None)
    return sum(storage.nbytes() for storage in saved.values()) / (4 * frames * SIDE**2)


@pytest.mark.parametrize(
    ("base", "stage", "gradient_checkpointing"),
    [
        ("sd15", "motion-lora", False),
        pytest.param("sd15", "motion-lora", True, marks=pytest.mark.full),
        pytest.param("sdxl", "motion-lora", False, marks=pytest.mark.full),
        ("sdxl", "motion-lora", True),
        pytest.param("sdxl", "motion-module", False, marks=pytest.mark.full),
        pytest.param("sdxl", "domain-adapter", False, marks=pytest.mark.full),
    ],
)
def test_estimated_activations_match_those_of_the_true_unets(fused_attention, base, stage, gradient_checkpointing):
    frames = 1 if stage == "domain-adapter" else 16
    counted = count_saved(base, stage, frames, gradient_checkpointing=gradient_checkpointing)
    estimated = saved_activations(shipped_config(base, "unet"), stage, gradient_checkpointing=gradient_checkpointing)
    assert 0.95 * counted < estimated < 1.15 * counted


def test_the_largest_layer_is_a_temporal_transformer_of_the_first_level():
    assert largest_layer(shipped_config("sdxl", "unet"), "motion-lora") == 27.5 * 320
    assert largest_layer(shipped_config("sdxl", "unet"), "domain-adapter") == 28 * 640 / 4


def test_remedies_list_only_options_that_still_lower_memory(make_plan):
    roomy = make_plan(data__size=512, data__num_frames=16, batch=4).config
    assert remedies(roomy, torch.float32, gradient_checkpointing=False).startswith(
        "lower it with `--gradient-checkpointing`, or"
    )
    least = make_plan().config
    assert "more memory" in remedies(least, torch.bfloat16, gradient_checkpointing=True)
