"""A MotionLoRA trained here renders equally in diffusers' AnimateDiffPipeline and in this program."""

import numpy as np
import pytest
import torch
from diffusers import AnimateDiffPipeline, AutoencoderKL, DDIMScheduler, MotionAdapter, UNet2DConditionModel
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from animdiff_cli import generate
from animdiff_cli.jobs.convert import convert_weights, plan_conversion
from animdiff_cli.jobs.train import run_training

PROMPT, STEPS, FRAMES, SIZE, SEED, GUIDANCE = "a fox", 2, 4, 64, 5, 2.0


class NormPerFrame(nn.GroupNorm):
    """The norm of a v3 temporal transformer as in the official code, on `[B, C, F, H, W]`.

    diffusers computes its statistics over all frames of a clip, which is another function of the same weights.
    """

    def forward(self, clip):
        frames = super().forward(clip.transpose(1, 2).flatten(0, 1))
        return frames.unflatten(0, (clip.shape[0], clip.shape[2])).transpose(1, 2)


@pytest.fixture
def render_in_diffusers(toy_model, toy_motion_file, tmp_path):
    """Render with diffusers, a converted motion module, and a LoRA loaded by diffusers' loader."""
    pipeline = AnimateDiffPipeline(
        vae=AutoencoderKL.from_pretrained(toy_model / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(toy_model / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(toy_model / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(toy_model / "unet"),
        motion_adapter=MotionAdapter.from_pretrained(convert(toy_motion_file, "diffusers", tmp_path / "adapter")),
        scheduler=DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="linear", steps_offset=1, clip_sample=False
        ),
    )
    pipeline.set_progress_bar_config(disable=True)
    for name, module in pipeline.unet.named_modules():
        if "motion_modules" in name and isinstance(module, nn.GroupNorm):
            module.__class__ = NormPerFrame

    def render(lora=None):
        pipeline.unload_lora_weights()
        if lora:
            pipeline.load_lora_weights(lora)
        frames = pipeline(
            PROMPT,
            num_frames=FRAMES,
            width=SIZE,
            height=SIZE,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=torch.Generator().manual_seed(SEED),
            output_type="np",
        ).frames[0]
        return (frames * 255).round()

    return render


@pytest.fixture
def render(toy_model, toy_motion_file):
    """Render with this program."""

    def render(*motion_loras):
        clip = generate(
            PROMPT,
            model=toy_model,
            motion_module=toy_motion_file,
            motion_loras=motion_loras,
            num_frames=FRAMES,
            width=SIZE,
            height=SIZE,
            steps=STEPS,
            guidance_scale=GUIDANCE,
            seed=SEED,
            dtype="fp32",
        )
        return clip.frames

    return render


def convert(source, to, output):
    return convert_weights(plan_conversion(str(source), to, output=output)).path


def max_difference(one, other):
    """Return the largest difference of two clips, in levels of 255."""
    return np.abs(one.astype(float) - other).max()


def test_a_trained_motion_lora_renders_equally_in_diffusers(make_plan, clips, render, render_in_diffusers, tmp_path):
    settings = {"steps": 3, "lr": 0.03, "alpha": 8.0, "spatial_rank": 0, "debias": 0.0}
    trained = run_training(make_plan(**settings), clips).path
    plain, with_lora = render(), render(trained)
    assert max_difference(render_in_diffusers(), plain) <= 1 < 8 < max_difference(with_lora, plain)
    converted = {
        layout: convert(trained, layout, tmp_path / f"{layout}.safetensors") for layout in ("diffusers", "peft")
    }
    for layout, path in converted.items():
        exported = run_training(make_plan(**settings, format=layout), clips).path  # the same run, without further steps
        tensors = load_file(exported)
        assert tensors.keys() == load_file(path).keys()
        assert all(torch.equal(tensor, tensors[key]) for key, tensor in load_file(path).items())
        assert max_difference(render_in_diffusers(exported), with_lora) <= 1
