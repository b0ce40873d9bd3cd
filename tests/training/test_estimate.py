"""What a step is said to take, against tensors of true size that hold no numbers."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel

from animdiff_cli.diffusion.cross_attention import share_text
from animdiff_cli.motion import MotionModule, plug
from animdiff_cli.training.activations import kept_numbers, largest_part
from animdiff_cli.training.estimate import remedies
from animdiff_cli.training.gradient_checkpointing import enable_gradient_checkpointing
from animdiff_cli.training.lora_layers import LoraLayers, image_projections, motion_projections
from animdiff_cli.weights.model_configs import shipped

SIDE = 64  # latent pixels: pictures of 512
VERSIONS = {"sd15": "v2", "sdxl": "sdxl"}


@pytest.fixture
def fused_attention(monkeypatch):
    """Choose the kernel that GPUs do: without one, tensors that hold no numbers would keep every score."""
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda q, k, v, *_, scale=None, **__: fused(q, k, v, scale=scale)[0]
    )


def count_kept(base, stage, frames, *, recompute):
    """Run the UNet forward on meta tensors; returns the numbers kept per frame and latent pixel."""
    kept, config = {}, shipped(base, "unet")
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config).eval().requires_grad_(False)
        share_text(unet)
        motion = None if stage == "domain-adapter" else MotionModule.from_unet(unet, VERSIONS[base])
        if motion is not None:
            motion.requires_grad_(stage == "motion-module")
            plug(unet, motion)
        if stage != "motion-module":
            LoraLayers.new(image_projections(unet) if motion is None else motion_projections(motion), 64)
        if recompute:
            enable_gradient_checkpointing(unet, motion)
        modules = [module for module in (unet, motion) if module is not None]
        weights = {p.untyped_storage()._cdata for module in modules for p in module.parameters()}

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage._cdata not in weights:
                kept[storage._cdata] = storage  # held, or its address would be used again
            return tensor

        told = {"text_embeds": torch.randn(frames, 1280), "time_ids": torch.randn(frames, 6)}
        text = torch.randn(1, 77, config["cross_attention_dim"])
        latents = torch.randn(frames, 4, SIDE, SIDE)
        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with motion.frames(frames) if motion else nullcontext(), hooks:
            unet(latents, torch.zeros(frames), text, added_cond_kwargs=told if base == "sdxl" else None)
    return sum(storage.nbytes() for storage in kept.values()) / (4 * frames * SIDE**2)


@pytest.mark.parametrize(
    ("base", "stage", "recompute"),
    [
        ("sd15", "motion-lora", False),
        ("sd15", "motion-lora", True),
        ("sdxl", "motion-lora", False),
        ("sdxl", "motion-lora", True),
        ("sdxl", "motion-module", False),
        ("sdxl", "domain-adapter", False),
    ],
)
def test_activations_of_the_true_unets_are_what_is_said(fused_attention, base, stage, recompute):
    frames = 1 if stage == "domain-adapter" else 16
    counted = count_kept(base, stage, frames, recompute=recompute)
    said = kept_numbers(shipped(base, "unet"), stage, recompute=recompute)
    assert 0.95 * counted < said < 1.15 * counted


def test_the_largest_part_is_a_temporal_transformer_of_the_first_level():
    assert largest_part(shipped("sdxl", "unet"), "motion-lora") == 27.5 * 320
    assert largest_part(shipped("sdxl", "unet"), "domain-adapter") == 28 * 640 / 4


def test_what_is_named_to_lower_memory_can_still_be_done(make_plan):
    roomy = make_plan(data__size=512, data__num_frames=16, batch=4).config
    assert remedies(roomy, torch.float32, recompute=False).startswith("lower it with `--gradient-checkpointing`, or")
    least = make_plan().config
    assert "more memory" in remedies(least, torch.bfloat16, recompute=True)
