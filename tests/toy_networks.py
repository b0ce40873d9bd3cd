"""Networks of random weights at toy width, also for scripts of tests that run in processes of their own."""

import json
from dataclasses import replace

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from animdiff_cli.core.where import Timeline
from animdiff_cli.diffusion.conditions import ClipContext
from animdiff_cli.motion import MotionModule, MotionSpec

#: for conditions that ask nothing of the clip they are prepared for
ANY_CLIP = ClipContext(Timeline(4, 8.0, 1), 1, torch.zeros(1, 4, 4, 8, 8), torch.device("cpu"))

CROSS_DOWN, CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
LAYOUTS = {
    "sd15": {
        "down_block_types": (CROSS_DOWN,) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + (CROSS_UP,) * 3,
        "block_out_channels": (32, 32, 64, 64),
    },
    "sdxl": {
        "down_block_types": ("DownBlock2D", CROSS_DOWN, CROSS_DOWN),
        "up_block_types": (CROSS_UP, CROSS_UP, "UpBlock2D"),
        "block_out_channels": (32, 64, 64),
        "use_linear_projection": True,
    },
    "one-level": {
        "down_block_types": (CROSS_DOWN,),
        "up_block_types": (CROSS_UP,),
        "block_out_channels": (32,),
    },
}


def make_unet(layout="sd15", *, dtype=torch.float64, layers=1, seed=0):
    """Build a stock UNet of SD1.5 layout (four levels), SDXL layout (three levels), or one level with attention."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8, layers_per_block=layers, cross_attention_dim=24, attention_head_dim=8, **LAYOUTS[layout]
    )
    return unet.to(dtype).eval()


def make_motion(unet, version="v3", seed=1):
    """Build a motion module for a UNet with every weight random, so that no part of it can hide behind a zero."""
    motion = MotionModule.from_unet(unet, version).to(unet.dtype).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in motion.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.2
        bias = 1.0 if name.endswith("norm.weight") or (".norms." in name and name.endswith(".weight")) else 0.0
        parameter.data.copy_(noise + bias)
    return motion


def sparsectrl_tensors(unet, *, rgb=True):
    """Return a SparseCtrl of random weights for a UNet in the official layout, positional encodings included."""
    torch.manual_seed(3)
    encoder = ControlNetModel.from_unet(unet, conditioning_channels=5 if rgb else 4)
    if rgb:
        encoder.controlnet_cond_embedding = nn.Conv2d(5, unet.config.block_out_channels[0], 3, padding=1)
    motion = MotionModule(replace(MotionSpec.for_unet(unet.config), up=(), num_attentions=1))
    for parameter in (*encoder.parameters(), *motion.parameters()):
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    return {**encoder.state_dict(), **motion.state_dict()}


def write_controls(unet_folder, controlnet, sparsectrl):
    """Write a ControlNet folder and a SparseCtrl file of random weights for the UNet in a folder."""
    unet = UNet2DConditionModel.from_pretrained(unet_folder)
    ControlNetModel.from_unet(unet).save_pretrained(controlnet)
    torch.save({"state_dict": sparsectrl_tensors(unet)}, sparsectrl)


def ip_adapter_tensors(unet, variant="plain", seed=0, width=16):
    """Return the tensors of an IP-Adapter of random weights for a UNet, under the names of the published files.

    `variant` is `plain`, `plus` or `full`; `width` that of what the image encoder returns for a picture.
    """
    torch.manual_seed(seed)
    token = unet.config.cross_attention_dim

    def normal(*shape):
        return torch.randn(shape) / max(shape[-1], 1) ** 0.5

    def norm(name, size):
        return {f"{name}.weight": 1 + 0.1 * torch.randn(size), f"{name}.bias": 0.1 * torch.randn(size)}

    def linear(name, out, into):
        return {f"{name}.weight": normal(out, into), f"{name}.bias": 0.1 * torch.randn(out)}

    if variant == "plain":
        projection = linear("proj", 4 * token, width) | norm("norm", token)
    elif variant == "full":
        projection = linear("proj.0", width, width) | linear("proj.2", token, width) | norm("proj.3", token)
    else:
        inner = 64
        projection = {"latents": torch.randn(1, 5, inner)} | linear("proj_in", inner, width)
        projection |= linear("proj_out", token, inner) | norm("norm_out", token)
        for layer in range(4):
            name = f"layers.{layer}"
            projection |= norm(f"{name}.0.norm1", inner) | norm(f"{name}.0.norm2", inner) | norm(f"{name}.1.0", inner)
            projection |= {f"{name}.0.to_q.weight": normal(64, inner), f"{name}.0.to_kv.weight": normal(128, inner)}
            projection |= {f"{name}.0.to_out.weight": normal(inner, 64)}
            projection |= {
                f"{name}.1.1.weight": normal(4 * inner, inner),
                f"{name}.1.3.weight": normal(inner, 4 * inner),
            }
    layers = [tensor.shape for name, tensor in unet.state_dict().items() if name.endswith("attn2.to_k.weight")]
    attention = {
        f"{2 * number + 1}.to_{role}_ip.weight": normal(*shape) for number, shape in enumerate(layers) for role in "kv"
    }
    return {"image_proj": projection, "ip_adapter": attention}


def flat(nested):
    """Name the tensors of an IP-Adapter as a safetensors file does."""
    return {f"{part}.{name}": tensor for part, tensors in nested.items() for name, tensor in tensors.items()}


def make_image_encoder(projection=16, width=32, side=32):
    """Build a CLIP image encoder of random weights."""
    torch.manual_seed(9)
    size = {"hidden_size": width, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = CLIPVisionConfig(**size, image_size=side, patch_size=8, projection_dim=projection)
    return CLIPVisionModelWithProjection(config).eval().requires_grad_(False)


def write_depth(folder, network=None, **processor):
    """Write a depth network of random weights as it is published; returns the folder. Default: Depth Anything."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

    torch.manual_seed(0)
    network = network or DepthAnythingForDepthEstimation(DepthAnythingConfig(**DEPTH_ANYTHING))
    for parameter in network.parameters():
        if parameter.dim() > 1:  # large ones, so that depth differs over a frame
            parameter.data.normal_(std=parameter[0].numel() ** -0.5)
    network.save_pretrained(folder)
    processor = {"size": {"height": 70, "width": 70}, "keep_aspect_ratio": True} | processor
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


DEPTH_WIDTHS = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 4}
DEPTH_NECK = {"neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 16}
DINO = {"model_type": "dinov2", "image_size": 70, "patch_size": 14, "out_indices": [1, 2, 3, 4]}
DINO |= {"apply_layernorm": True, "reshape_hidden_states": False}
DEPTH_ANYTHING = DEPTH_NECK | {"reassemble_hidden_size": 32, "head_hidden_size": 8}
DEPTH_ANYTHING |= {"backbone_config": DEPTH_WIDTHS | DINO}
