"""Files of the published layouts at true size, by their names and shapes alone."""

from pathlib import Path

import pytest
from transformers import CLIPVisionConfig

from animdiff_cli.errors import UsageError
from animdiff_cli.weights.completeness import expected_shapes
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.image_encoder import read_image_encoder
from animdiff_cli.weights.ip_adapter import read_ip_adapter
from animdiff_cli.weights.lazy import LazyTensor

SD15_WIDTHS = [320, 320, 640, 640, 1280, 1280] + [1280] * 3 + [640] * 3 + [320] * 3 + [1280]
VIT_H = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "projection_dim": 1024}
VIT_BIGG = {"hidden_size": 1664, "intermediate_size": 8192, "num_hidden_layers": 48, "projection_dim": 1280}


def file_of(shapes, path="no-such-folder/ip-adapter.safetensors"):
    tensors = {key: LazyTensor("F16", tuple(shape), lambda start, stop: None) for key, shape in shapes.items()}
    return WeightFile(Path(path), "safetensors", tensors, {})


def attention(width=768, widths=SD15_WIDTHS):
    return {
        f"ip_adapter.{2 * number + 1}.to_{role}_ip.weight": (inner, width)
        for number, inner in enumerate(widths)
        for role in "kv"
    }


def published(shapes):
    """Name the weights of an image encoder as published files do, whatever transformers calls them."""
    prefixes = ("vision_model.", "visual_")
    return {name if name.startswith(prefixes) else f"vision_model.{name}": shape for name, shape in shapes.items()}


def projection(**shapes):
    return {f"image_proj.{name}": shape for name, shape in shapes.items()}


def plus(width=768, inner=768, from_width=1280, heads=12):
    shapes = {"latents": (1, 16, inner), "proj_in.weight": (inner, from_width), "proj_in.bias": (inner,)}
    shapes |= {"proj_out.weight": (width, inner), "proj_out.bias": (width,)}
    shapes |= {"norm_out.weight": (width,), "norm_out.bias": (width,)}
    for layer in range(4):
        norms = (f"{norm}.{part}" for norm in ("0.norm1", "0.norm2", "1.0") for part in ("weight", "bias"))
        shapes |= {f"layers.{layer}.{name}": (inner,) for name in norms}
        shapes[f"layers.{layer}.0.to_q.weight"] = (64 * heads, inner)
        shapes[f"layers.{layer}.0.to_kv.weight"] = (128 * heads, inner)
        shapes[f"layers.{layer}.0.to_out.weight"] = (inner, 64 * heads)
        shapes |= {f"layers.{layer}.1.1.weight": (4 * inner, inner), f"layers.{layer}.1.3.weight": (inner, 4 * inner)}
    return projection(**shapes)


PLAIN = projection(**{"proj.weight": (3072, 1024), "proj.bias": (3072,), "norm.weight": (768,), "norm.bias": (768,)})
FULL = {"proj.0.weight": (1280, 1280), "proj.0.bias": (1280,), "proj.2.weight": (768, 1280), "proj.2.bias": (768,)}
FULL |= {"proj.3.weight": (768,), "proj.3.bias": (768,)}


@pytest.mark.parametrize(
    ("tensors", "variant", "width", "tokens"),
    [(PLAIN, "plain", 1024, 4), (plus(), "plus", 1280, 16), (projection(**FULL), "full", 1280, None)],
    ids=["plain and light", "plus and plus-face", "full-face"],
)
def test_published_layouts_of_sd15_are_read(tensors, variant, width, tokens):
    found = read_ip_adapter(file_of(tensors | attention()))
    assert (found.variant, found.input_width, found.token_width) == (variant, width, 768)
    assert found.config.get("num_tokens") == tokens
    assert [key.shape[0] for key in found.keys] == SD15_WIDTHS


def test_plus_of_sdxl_is_read():
    found = read_ip_adapter(file_of(plus(2048, 1280, 1280, heads=20) | attention(2048)))
    assert (found.config["heads"], found.token_width) == (20, 2048)


@pytest.mark.parametrize(
    ("settings", "heads", "activation"), [(VIT_H, 16, "gelu"), (VIT_BIGG, 16, "gelu")], ids=["ViT-H", "ViT-bigG"]
)
def test_the_config_of_an_image_encoder_follows_from_its_shapes(settings, heads, activation):
    config = CLIPVisionConfig(**settings, num_attention_heads=16, patch_size=14, image_size=224).to_dict()
    shapes = expected_shapes("image_encoder", config)
    named = published(shapes)
    tensors, found = read_image_encoder(file_of(named | {"vision_model.embeddings.position_ids": (1, 257)}))
    assert tensors.keys() == shapes.keys()
    assert {key: found[key] for key in settings} == settings
    assert (found["num_attention_heads"], found["hidden_act"]) == (heads, activation)
    assert (found["image_size"], found["patch_size"]) == (224, 14)


def test_an_image_encoder_of_unknown_width_needs_its_config():
    shapes = expected_shapes("image_encoder", CLIPVisionConfig(hidden_size=96, intermediate_size=64).to_dict())
    named = published(shapes)
    with pytest.raises(UsageError, match="whose number of heads is not known"):
        read_image_encoder(file_of(named))
