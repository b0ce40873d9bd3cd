"""Files at true size of networks that read pictures: ControlNet 1.1, SparseCtrl, IP-Adapter plus, PIA.

They have the keys and shapes of the published files in fp16, in their containers. Values are those of
`benchmarks.true_size`.
"""

from dataclasses import replace
from pathlib import Path

import torch

from animdiff_cli.motion.module import MotionModule
from animdiff_cli.motion.spec import MotionSpec
from animdiff_cli.weights.completeness import expected_shapes
from animdiff_cli.weights.controlnet_names import ORIGINAL_PREFIX, to_original
from animdiff_cli.weights.lazy import LazyTensor
from animdiff_cli.weights.ldm_unet import layers_of_diffusers
from animdiff_cli.weights.model_configs import shipped_config
from animdiff_cli.weights.motion import is_position
from animdiff_cli.weights.positional_encoding import positional_encoding
from benchmarks.true_size import Shapes, Writers, invented, motion_shapes, write_tensors

#: settings of a UNet that its encoder does not have
_OF_UNETS = ("out_channels", "up_block_types", "sample_size", "center_input_sample", "in_channels")
VIT_H = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 1024,
}


def controlnet(path: Path) -> Path:
    """Write a ControlNet 1.1 in the original layout, 723 MB."""
    shapes = _encoder_shapes(3)
    layers = layers_of_diffusers(shapes)
    named = {f"{ORIGINAL_PREFIX}{to_original(key, layers)}": shape for key, shape in shapes.items()}
    return write_tensors({key: invented(key, shape) for key, shape in named.items()}, path)


def sparsectrl_rgb(path: Path) -> Path:
    """Write a SparseCtrl for pictures, whose condition is embedded by one convolution, 994 MB."""
    shapes = {key: shape for key, shape in _encoder_shapes(5).items() if "controlnet_cond_embedding" not in key}
    own = {"controlnet_cond_embedding.weight": (320, 5, 3, 3), "controlnet_cond_embedding.bias": (320,)}
    return _sparsectrl({**shapes, **own}, path)


def sparsectrl_scribble(path: Path) -> Path:
    """Write a SparseCtrl for scribbles, 996 MB."""
    return _sparsectrl(_encoder_shapes(4), path)


def ip_adapter_plus(path: Path) -> Path:
    """Write an IP-Adapter plus, 98 MB."""
    width, inner = 768, 3072
    projection: dict[str, tuple[int, ...]] = {"latents": (1, 16, width)}
    for name, shape in {"proj_in": (width, 1280), "proj_out": (768, width), "norm_out": (768,)}.items():
        projection |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for layer in range(4):
        for norm in ("0.norm1", "0.norm2", "1.0"):
            projection |= {f"layers.{layer}.{norm}.{part}": (width,) for part in ("weight", "bias")}
        shapes = {"0.to_q": (width, width), "0.to_kv": (2 * width, width), "0.to_out": (width, width)}
        shapes |= {"1.1": (inner, width), "1.3": (width, inner)}
        projection |= {f"layers.{layer}.{name}.weight": shape for name, shape in shapes.items()}
    unet = expected_shapes("unet", shipped_config("sd15", "unet"))
    layers = [shape for key, shape in unet.items() if key.endswith("attn2.to_k.weight")]
    attention = {f"{2 * n + 1}.to_{role}_ip.weight": shape for n, shape in enumerate(layers) for role in "kv"}
    named = {f"image_proj.{key}": shape for key, shape in projection.items()}
    named |= {f"ip_adapter.{key}": shape for key, shape in attention.items()}
    return write_tensors({key: invented(key, shape) for key, shape in named.items()}, path)


def clip_vit_h(path: Path) -> Path:
    """Write CLIP ViT-H/14, the image encoder of IP-Adapters, 1.26 GB."""
    tensors = {}
    for key, shape in expected_shapes("image_encoder", VIT_H).items():
        name = key if key.startswith(("vision_model.", "visual_projection.")) else f"vision_model.{key}"
        tensors[name] = invented(name, shape)
    return write_tensors(tensors, path)


def pia(path: Path) -> Path:
    """Write the PIA module, the layout of v3 with an input convolution of 9 channels, 837 MB."""
    shapes: Shapes = {**motion_shapes("sd15", "v3"), "conv_in.weight": (320, 9, 3, 3), "conv_in.bias": (320,)}
    return write_tensors(_with_positions(shapes), path)


#: the names of published files
WRITERS: Writers = {
    "controlnet": (controlnet, "control_v11p_sd15_canny.pth"),
    "sparsectrl-rgb": (sparsectrl_rgb, "v3_sd15_sparsectrl_rgb.ckpt"),
    "sparsectrl-scribble": (sparsectrl_scribble, "v3_sd15_sparsectrl_scribble.ckpt"),
    "ip-adapter-plus": (ip_adapter_plus, "ip-adapter-plus_sd15.safetensors"),
    "clip-vit-h": (clip_vit_h, "model.safetensors"),
    "pia": (pia, "pia.ckpt"),
}


def _encoder_shapes(channels: int) -> Shapes:
    unet = {key: value for key, value in shipped_config("sd15", "unet").items() if key not in _OF_UNETS}
    return expected_shapes("controlnet", unet | {"conditioning_channels": channels})


def _sparsectrl(encoder: Shapes, path: Path) -> Path:
    with torch.device("meta"):
        spec = MotionSpec.for_unet(shipped_config("sd15", "unet"))
        motion = MotionModule(replace(spec, up=(), num_attentions=1)).state_dict()
    shapes = {**encoder, **{key: tuple(tensor.shape) for key, tensor in motion.items()}}
    return write_tensors(_with_positions(shapes), path)


def _with_positions(shapes: Shapes) -> dict[str, LazyTensor]:
    return {
        key: positional_encoding(shape[1], shape[2], "F16") if is_position(key) else invented(key, shape)
        for key, shape in shapes.items()
    }
