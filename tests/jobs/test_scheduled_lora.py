"""LoRAs whose scale is a curve: at a constant scale what merging gives, and at every frame what that scale gives."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from animdiff_cli import generate, load
from animdiff_cli.config.layers import keyword_layer
from animdiff_cli.diffusion.pipeline import sample_latents
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.render_plan import plan_clip
from tests.jobs.conftest import UNET

SIX = {"num_frames": 6, "guidance_scale": 3.0, "beta_schedule": "linear"}


def latents(settings, **more):
    """Sample the latents of a clip, [1, 4, F, 8, 8]."""
    settings = {key: value for key, value in {**settings, **SIX, **more}.items() if key != "seed"}
    animator = load(**settings)
    config, _ = plan_clip(animator.plan, keyword_layer({"prompt": "a fox", "seed": 1}))
    return sample_latents(animator.pipeline, config)


def apart(one, other):
    return (one - other).abs().max().item()


@pytest.fixture
def stills(small):
    """Settings of frames that do not move together, so that each frame depends on its own scale alone."""
    return small | {"motion_module": None}


@pytest.fixture
def convolutions(toy_model, numbers, tmp_path):
    """A LoRA of rank 3 and alpha 2 of convolutions: the first of the UNet, 3 x 3, with a stride, and 1 x 1."""
    tensors = {}
    for key, weight in load_file(toy_model / UNET).items():
        named = ("conv_in", "conv1", "downsamplers.0.conv", "conv_shortcut", "time_emb_proj", "proj_in")
        if key.endswith(".weight") and any(f"{name}.weight" in key for name in named):
            stem = f"lora_unet_{key.removesuffix('.weight').replace('.', '_')}"
            kernel = weight.shape[2:]
            tensors[f"{stem}.lora_down.weight"] = 0.3 * numbers(3, weight.shape[1], *kernel)
            tensors[f"{stem}.lora_up.weight"] = 0.3 * numbers(weight.shape[0], 3, *(1 for _ in kernel))
            tensors[f"{stem}.alpha"] = torch.tensor(2.0)
    assert {weight.dim() for weight in tensors.values()} == {0, 2, 4}
    save_file(tensors, tmp_path / "convolutions.safetensors")
    return tmp_path / "convolutions.safetensors"


def test_at_a_constant_scale_it_equals_merging_in_unet_and_text_encoder(small, make_lora):
    path, _ = make_lora()
    merged = latents(small, loras=[f"{path}@0.5"])
    assert apart(latents(small, loras=[f"{path}@0:0.5,-1:0.5"]), merged) < 1e-4
    assert apart(latents(small, loras=[f"{path}@steps:0:0.5"]), merged) < 1e-4
    assert apart(latents(small), merged) > 0.01


def test_convolutions_and_official_alphas_are_scheduled_alike(small, convolutions):
    for mode in ("alpha", "official"):
        merged = latents(small, loras=[f"{convolutions}@0.3"], lora_alpha_mode=mode)
        assert apart(latents(small, loras=[f"{convolutions}@0:0.3"], lora_alpha_mode=mode), merged) < 1e-4
    assert apart(latents(small), merged) > 0.01


def test_every_frame_is_the_frame_of_a_render_at_its_own_scale(stills, make_lora, convolutions):
    """Keys and values of the text differ by frame, so none is left from another frame."""
    path, _ = make_lora(parts=("unet",))
    for lora in (path, convolutions):
        scheduled = latents(stills, loras=[f"{lora}@0:0,100%:1"])
        for frame in range(6):
            alone = latents(stills, loras=[f"{lora}@{frame / 5}"])
            assert apart(scheduled[:, :, frame], alone[:, :, frame]) < 1e-4
        assert apart(scheduled, latents(stills)) > 0.01


def test_every_step_has_its_own_scale(stills, make_lora):
    """Of two steps, the second alone has the LoRA: no keys are left from the first."""
    path, _ = make_lora(parts=("unet",))
    late = latents(stills, loras=[f"{path}@steps:0:0,1:1"], steps=2)
    always, never = (latents(stills, loras=[f"{path}@{scale}"], steps=2) for scale in (1, 0))
    assert apart(late, always) > 0.01 < apart(late, never)
    held = latents(stills, loras=[f"{path}@steps:0:0,1:0"], steps=2)
    assert apart(held, never) < 1e-4


def test_the_text_encoders_part_has_the_value_farthest_from_zero(stills, make_lora):
    text_alone, _ = make_lora(parts=("te",), strength=1.0)
    scheduled = latents(stills, loras=[f"{text_alone}@0:0.25,-1:-0.5"])
    assert apart(scheduled, latents(stills, loras=[f"{text_alone}@-0.5"])) == 0


def test_a_record_and_text_give_the_same_schedule(small, make_lora):
    path, _ = make_lora()
    as_text = generate("a fox", **small, loras=[f"{path}@0:0,-1:1"])
    as_record = generate("a fox", **small, loras=[{"ref": path, "scale": {0: 0, -1: 1}}])
    assert (as_text.frames == as_record.frames).all()
    assert as_record.recipe["config"]["loras"] == [f"{path}@0:0.0,-1:1.0"]
    again = generate("a fox", **{key: value for key, value in as_record.recipe["config"].items() if key != "prompt"})
    assert (again.frames == as_record.frames).all()


def test_nothing_is_left_on_the_layers_after_a_clip(small, make_lora):
    animator = load(**small | {"loras": [f"{make_lora()[0]}@0:0,-1:1"]})
    animator.generate("a fox")
    linear = [module for module in animator.pipeline.unet.modules() if isinstance(module, torch.nn.Linear)]
    assert linear and not any(module._forward_hooks for module in linear)


@pytest.fixture
def motion_lora(small, numbers, tmp_path):
    """A MotionLoRA of rank 4 in the official layout."""
    tensors = {}
    for key, weight in load_file(small["motion_module"]).items():
        stem, _, projection = key.removesuffix(".weight").removesuffix(".0").rpartition(".")
        if projection in ("to_q", "to_k", "to_v", "to_out") and key.endswith(".weight"):
            prefix = f"{stem}.processor.{projection}_lora"
            tensors |= {
                f"{prefix}.down.weight": 0.3 * numbers(4, weight.shape[1]),
                f"{prefix}.up.weight": 0.3 * numbers(weight.shape[0], 4),
            }
    torch.save(tensors, tmp_path / "pan.ckpt")
    return tmp_path / "pan.ckpt"


def test_a_scheduled_motion_lora_equals_merging_at_a_constant_scale(small, motion_lora):
    merged = latents(small, motion_loras=[f"{motion_lora}@0.7"])
    assert apart(latents(small, motion_loras=[f"{motion_lora}@0:0.7,100%:0.7"]), merged) < 1e-4
    assert apart(latents(small, motion_loras=[f"{motion_lora}@steps:0:0.7"]), merged) < 1e-4
    assert apart(latents(small), merged) > 0.01


def test_a_motion_lora_may_begin_in_the_middle_of_a_clip(small, motion_lora):
    plain, whole = (latents(small, motion_loras=loras) for loras in ([], [motion_lora]))
    half = latents(small, motion_loras=[f"{motion_lora}@2:0,3:1"])
    assert apart(half, plain) > 0.01 < apart(half, whole)
    assert apart(latents(small, motion_loras=[f"{motion_lora}@2:0,3:0"]), plain) == 0


@pytest.mark.parametrize("mode", ["unet", "plug"])
def test_a_motion_lora_follows_the_frames_of_context_windows(small, motion_lora, mode):
    """Windows without overlap do not see each other: each has the LoRA as its frames say."""
    windows = {"context_length": 3, "context_overlap": 0, "context_schedule": "batched", "context_mode": mode}
    never, always = (latents(small, motion_loras=[f"{motion_lora}@{scale}"], **windows) for scale in (0, 1))
    late = latents(small, motion_loras=[f"{motion_lora}@2:0,3:1"], **windows)
    assert apart(late[:, :, :3], never[:, :, :3]) < 1e-4 < apart(never, always)
    assert apart(late[:, :, 3:], always[:, :, 3:]) < 1e-4


@pytest.mark.parametrize(
    ("layer", "family", "reason"),
    [
        ("attn1.to_q", "dora", "relative to its weights"),
        ("attn1.to_q", "ia3", "relative to its weights"),
        ("norm1", "norm", "inside a norm"),
    ],
)
def test_changes_that_are_no_sum_cannot_vary(small, toy_model, numbers, tmp_path, layer, family, reason):
    weights = load_file(toy_model / UNET)
    key = next(key for key in weights if key.endswith(f"transformer_blocks.0.{layer}.weight"))
    stem = f"lora_unet_{key.removesuffix('.weight').replace('.', '_')}"
    out, width = weights[key].shape[0], weights[key].shape[-1]
    product = {"lora_down.weight": numbers(4, width), "lora_up.weight": numbers(out, 4)}
    own = {
        "dora": product | {"dora_scale": numbers(out, 1).abs()},
        "ia3": {"weight": numbers(out), "on_input": torch.tensor(False)},
        "norm": {"w_norm": numbers(out)},
    }[family]
    save_file({f"{stem}.{name}": tensor for name, tensor in own.items()}, tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match=f"cannot have a curve as its scale: it changes `.*` {reason}") as refusal:
        generate("a fox", **small, loras=[f"{tmp_path / 'other.safetensors'}@0:0,-1:1"])
    assert refusal.value.hint == "give it one scale, as in `REF@0.8`"


def test_a_scheduled_motion_lora_needs_a_motion_module(stills, motion_lora):
    with pytest.raises(UsageError, match="a MotionLoRA changes a motion module, and this render has none"):
        generate("a fox", **stills, motion_loras=[f"{motion_lora}@0:0,-1:1"])


def test_positions_are_checked_before_anything_is_opened(small, tmp_path):
    (tmp_path / "none.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="safetensors@0:0,9:1`: there is no frame 9: the clip has 2 frames, 0 to 1"):
        generate("a fox", **small, loras=[f"{tmp_path / 'none.safetensors'}@0:0,9:1"])
