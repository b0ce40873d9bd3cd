"""A file given as what it is not is answered with what it is and the flag it belongs to, before any weights load."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from animdiff_cli import generate
from animdiff_cli.config.layers import Layer
from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.jobs.render_plan import plan_renders

ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
SITE = "{}.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0"


def zeros(**shapes):
    return {key: torch.zeros(shape) for key, shape in shapes.items()}


#: the least of each kind that is recognised as it
FILES = {
    "lora": zeros(
        **{
            f"lora_unet_{ATTENTION.replace('.', '_')}_to_k.lora_{word}.weight": shape
            for word, shape in (("down", (4, 768)), ("up", (320, 4)))
        }
    ),
    "sdxl-lora": zeros(
        **{
            f"lora_unet_{ATTENTION.replace('.', '_')}_to_k.lora_{word}.weight": shape
            for word, shape in (("down", (4, 2048)), ("up", (640, 4)))
        }
    ),
    "motion-lora": zeros(
        **{
            f"{SITE.format('mid_block')}.processor.to_q_lora.{word}.weight": shape
            for word, shape in (("down", (4, 64)), ("up", (64, 4)))
        }
    ),
    "domain-adapter": zeros(
        **{
            f"{ATTENTION}.processor.to_q_lora.{word}.weight": shape
            for word, shape in (("down", (128, 32)), ("up", (32, 128)))
        }
    ),
    "motion-module": zeros(**{f"{SITE.format('down_blocks.0')}.to_q.weight": (32, 32)}),
    "base": zeros(**{f"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.{a}": (32, 32) for a in "ab"}),
    "vae": zeros(**{"decoder.up.0.block.0.conv1.weight": (8, 8, 3, 3)}),
    "embedding": zeros(emb_params=(2, 768)),
    "controlnet": zeros(**{"control_model.input_hint_block.0.weight": (16, 3, 3, 3)}),
    "sparsectrl": zeros(
        **{"controlnet_cond_embedding.weight": (8, 5, 3, 3), f"{SITE.format('down_blocks.0')}.to_q.weight": (32, 32)}
    ),
    "ip-adapter": zeros(**{"ip_adapter.1.to_k_ip.weight": (8, 8), "image_proj.proj.weight": (8, 8)}),
    "unet": zeros(**{"down_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3), "time_embedding.linear_1.weight": (8, 8)}),
    "text-encoder": zeros(**{"text_model.embeddings.token_embedding.weight": (8, 8)}),
}
WORDS = {
    "lora": "a LoRA",
    "motion-lora": "a MotionLoRA",
    "domain-adapter": "a domain adapter",
    "motion-module": "a motion module",
    "base": "an image model",
    "vae": "a VAE",
    "embedding": "a textual inversion",
}
#: the setting each of those kinds is given in, and its flag
SETTINGS = {
    "base": ("model", "--model"),
    "motion-module": ("motion_module", "--motion-module"),
    "motion-lora": ("motion_loras", "--motion-lora"),
    "lora": ("loras", "--lora"),
    "domain-adapter": ("domain_adapter", "--domain-adapter"),
    "vae": ("vae", "--vae"),
    "embedding": ("embeddings", "--embedding"),
}


@pytest.fixture
def plan(small, tmp_path):
    """Plan a render of the toy model in which one file, made of the tensors of a kind, is given in one setting."""

    def build(tensors, setting):
        path = tmp_path / "given.safetensors"
        save_file(tensors, path)
        values = {key: str(value) if hasattr(value, "parts") else value for key, value in small.items()}
        return plan_renders([Layer("test", values | {setting: str(path)})], prompts=["a fox, given"])

    return build


#: a converted domain adapter looks like any LoRA, so that pair may be right
MISTAKES = [(kind, wanted) for kind in WORDS for wanted in SETTINGS if kind != wanted]


@pytest.mark.parametrize(("kind", "wanted"), [pair for pair in MISTAKES if pair != ("lora", "domain-adapter")])
def test_each_kind_given_as_each_other_names_both_and_the_right_flag(plan, kind, wanted):
    with pytest.raises(UsageError) as told:
        plan(FILES[kind], SETTINGS[wanted][0])
    assert str(told.value) == f"given.safetensors is {WORDS[kind]}, not {WORDS[wanted]}"
    assert SETTINGS[kind][1] in told.value.hint or (kind, wanted) == ("base", "vae")


@pytest.mark.parametrize("wanted", SETTINGS)
@pytest.mark.parametrize("kind", ["controlnet", "sparsectrl", "ip-adapter", "unet", "text-encoder"])
def test_kinds_without_a_flag_say_what_they_are(plan, kind, wanted):
    with pytest.raises(UsageError, match=r"given\.safetensors is a.*, not a") as told:
        plan(FILES[kind], SETTINGS[wanted][0])
    assert told.value.hint


def test_a_lora_of_another_width_is_refused_by_shape(plan):
    with pytest.raises(
        UsageError, match=r"does not fit the image model toy: its change of `unet\.down_blocks\.0"
    ) as told:
        plan(FILES["lora"], "loras")
    assert "another base" in told.value.hint


def test_a_lora_that_would_change_nothing_is_an_error(plan, numbers):
    stem = "lora_unet_down_blocks_0_attentions_7_proj_in"
    tensors = {f"{stem}.lora_down.weight": numbers(4, 32), f"{stem}.lora_up.weight": numbers(32, 4)}
    with pytest.raises(UsageError, match="changes nothing in the image model toy, which has none of its 1 module"):
        plan(tensors, "loras")


def test_an_unknown_key_does_not_refuse_a_lora_in_a_render(plan, make_lora, numbers):
    path, _ = make_lora()
    plan(load_file(path) | {"mystery": numbers(3)}, "loras")


def test_a_lora_of_half_a_pair_is_refused(plan):
    half = {key: tensor for key, tensor in FILES["lora"].items() if "lora_down" in key}
    with pytest.raises(IntegrityError, match="has no up matrix"):
        plan(half, "loras")


def test_a_lora_of_more_than_the_unets_attentions_is_no_adapter(plan, make_lora):
    path, _ = make_lora()
    with pytest.raises(UsageError, match="is a LoRA, not a domain adapter: it changes `text_encoder") as told:
        plan(load_file(path), "domain_adapter")
    assert "--lora" in told.value.hint


@pytest.mark.parametrize(("shape", "width"), [((2, 768), 768), ((48,), 48)])
def test_an_embedding_of_another_width_names_both(plan, shape, width):
    tensors = {"emb_params": torch.zeros(shape)}
    with pytest.raises(UsageError, match=f"its tokens are {width} numbers wide, the text encoder reads 32"):
        plan(tensors, "embeddings")


def test_a_vae_of_more_latent_channels_is_refused(small, tmp_path):
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(block_out_channels=(32,), latent_channels=16)
    vae.save_pretrained(tmp_path / "flux-vae")
    with pytest.raises(UsageError, match="flux-vae has 16 latent channels, toy was made with 4"):
        generate("a fox", **small, vae=tmp_path / "flux-vae")


def test_a_vae_for_another_scale_of_latents_is_refused(small, tmp_path):
    from diffusers import AutoencoderKL

    AutoencoderKL(block_out_channels=(32,), scaling_factor=0.13025).save_pretrained(tmp_path / "sdxl-vae")
    with pytest.raises(UsageError, match=r"has 0\.13025 as the scale of its latents, toy was made with 0\.18215"):
        generate("a fox", **small, vae=tmp_path / "sdxl-vae")


def test_a_vae_with_a_gap_is_refused(small, toy_model, tmp_path):
    weights = load_file(toy_model / "vae" / "diffusion_pytorch_model.safetensors")
    del weights["decoder.conv_norm_out.weight"]
    save_file(weights, tmp_path / "gap.safetensors")
    with pytest.raises(IntegrityError, match=r"lacks 1 weight, first `vae\.decoder\.conv_norm_out\.weight`"):
        generate("a fox", **small, vae=tmp_path / "gap.safetensors")


def test_a_motion_lora_needs_a_motion_module(small, tmp_path):
    save_file(FILES["motion-lora"], tmp_path / "pan.safetensors")
    with pytest.raises(UsageError, match="this render has none"):
        generate("a fox", **small | {"motion_module": None}, motion_loras=[tmp_path / "pan.safetensors"])


def test_two_embeddings_of_one_word_are_refused(small, numbers, tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        save_file({"emb_params": numbers(1, 32)}, tmp_path / folder / "cat.safetensors")
    files = [tmp_path / folder / "cat.safetensors" for folder in ("one", "other")]
    with pytest.raises(UsageError, match="the word `cat` is given twice"):
        generate("a cat", **small, embeddings=files)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b"<!DOCTYPE html><html>Sign in</html>", "is a web page"),
        (b'{"error": "unauthorized"}', "is a JSON response of a web site"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "is a Git LFS pointer"),
    ],
)
@pytest.mark.parametrize("name", ["page.safetensors", "page.ckpt"])
def test_what_a_failed_download_leaves_is_called_by_its_name(small, tmp_path, start, says, name):
    (tmp_path / name).write_bytes(start)
    with pytest.raises(IntegrityError, match=says):
        generate("a fox", **small, loras=[tmp_path / name])
