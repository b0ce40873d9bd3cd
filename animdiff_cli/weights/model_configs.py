"""Derive diffusers configs from the shapes of tensors, based on shipped configs."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from animdiff_cli.weights.lazy import LazyTensor

CONFIGS = Path(__file__).with_name("configs")
#: for modules without a recorded length; diffusers' default
DEFAULT_FRAMES = 32
CLIP_HEAD_WIDTH = SDXL_HEAD_WIDTH = 64


def shipped_config(base: str, part: str) -> dict[str, Any]:
    """Read the shipped config of a part of a base, such as `("sd15", "unet")`."""
    config: dict[str, Any] = json.loads((CONFIGS / base / f"{part}.json").read_text(encoding="utf-8"))
    return config


def tokenizer_files(base: str, part: str) -> dict[str, bytes]:
    """Return the files of a tokenizer: CLIP's vocabulary and the base's settings, by file name."""
    files = {name: (CONFIGS / "clip" / name).read_bytes() for name in ("vocab.json", "merges.txt")}
    return files | {"tokenizer_config.json": (CONFIGS / base / f"{part}.json").read_bytes()}


def motion_adapter(tensors: Mapping[str, LazyTensor], max_frames: int | None) -> dict[str, Any]:
    """Return the `MotionAdapter` config of a motion module."""
    sites = _levels(tensors, r"down_blocks\.(\d+)\.motion_modules\.(\d+)\.norm\.weight")
    conv_in = tensors.get("conv_in.weight")
    return {
        "_class_name": "MotionAdapter",
        "block_out_channels": [tensor.num_rows for (_, layer), tensor in sorted(sites.items()) if layer == 0],
        "conv_in_channels": conv_in.shape[1] if conv_in else None,
        "motion_layers_per_block": 1 + max(layer for _, layer in sites),
        "motion_max_seq_length": max_frames or DEFAULT_FRAMES,
        "motion_mid_block_layers_per_block": 1,
        "motion_norm_num_groups": 32,
        "motion_num_attention_heads": 8,
        "use_motion_mid_block": "mid_block.motion_modules.0.norm.weight" in tensors,
    }


def sparsectrl(tensors: Mapping[str, LazyTensor], max_frames: int | None) -> dict[str, Any]:
    """Return the `SparseControlNetModel` config of a SparseCtrl encoder."""
    simplified = "controlnet_cond_embedding.weight" in tensors
    first = tensors["controlnet_cond_embedding.weight" if simplified else "controlnet_cond_embedding.conv_in.weight"]
    cross = next((t.shape[1] for key, t in tensors.items() if key.endswith("attn2.to_k.weight")), 768)
    levels = _levels(tensors, r"down_blocks\.(\d+)\.resnets\.(\d+)\.conv2\.weight")
    strided = _levels(tensors, r"controlnet_cond_embedding\.(blocks)\.(\d+)\.weight")
    widths = [first.num_rows] + [tensor.num_rows for (_, layer), tensor in sorted(strided.items()) if layer % 2]
    return {
        "_class_name": "SparseControlNetModel",
        "block_out_channels": [tensor.num_rows for (_, layer), tensor in sorted(levels.items()) if layer == 0],
        "concat_conditioning_mask": True,
        "conditioning_channels": first.shape[1] - 1,  # diffusers counts without the mask
        "conditioning_embedding_out_channels": [16, 32, 96, 256] if simplified else widths,
        "cross_attention_dim": cross,
        "layers_per_block": 1 + max((layer for _, layer in levels), default=1),
        "motion_max_seq_length": max_frames or DEFAULT_FRAMES,
        "motion_num_attention_heads": 8,
        "use_simplified_condition_embedding": simplified,
    }


def unet(tensors: Mapping[str, LazyTensor], base: str) -> dict[str, Any]:
    """Return the config of a UNet of a base, with widths from its tensors."""
    return unet_blocks(tensors, base) | {"out_channels": tensors["conv_out.weight"].num_rows}


def unet_blocks(tensors: Mapping[str, LazyTensor], base: str) -> dict[str, Any]:
    """Return the config of a UNet or of its encoder alone, which a ControlNet is."""
    levels = _levels(tensors, r"down_blocks\.(\d+)\.resnets\.(\d+)\.conv2\.weight")
    cross = next(t.shape[1] for key, t in tensors.items() if key.endswith("attn2.to_k.weight"))
    widths = [tensor.num_rows for (_, layer), tensor in sorted(levels.items()) if layer == 0]
    return (
        shipped_config(base, "unet")
        | {
            "in_channels": tensors["conv_in.weight"].shape[1],
            "block_out_channels": widths,
            "layers_per_block": 1 + max(layer for _, layer in levels),
            "cross_attention_dim": cross,
        }
        | (_of_sdxl(tensors, widths) if base == "sdxl" else {})
    )


def vae(tensors: Mapping[str, LazyTensor], base: str) -> dict[str, Any]:
    """Return the config of a VAE of a base, with widths from its tensors."""
    levels = _levels(tensors, r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.conv2\.weight")
    widths = [tensor.num_rows for (_, layer), tensor in sorted(levels.items()) if layer == 0]
    config = shipped_config(base, "vae")
    return config | {
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "latent_channels": tensors["decoder.conv_in.weight"].shape[1],
        "layers_per_block": 1 + max(layer for _, layer in levels),
    }


def text_encoder(tensors: Mapping[str, LazyTensor], base: str, part: str = "text_encoder") -> dict[str, Any]:
    """Return the config of a CLIP text encoder, with widths from its tensors and heads of width 64."""
    tokens = tensors["text_model.embeddings.token_embedding.weight"]
    positions = tensors["text_model.embeddings.position_embedding.weight"]
    layers = [int(match[1]) for key in tensors if (match := re.match(r"text_model\.encoder\.layers\.(\d+)\.", key))]
    projection = tensors.get("text_projection.weight")
    return shipped_config(base, part) | {
        "hidden_size": tokens.shape[1],
        "intermediate_size": tensors["text_model.encoder.layers.0.mlp.fc1.weight"].num_rows,
        "max_position_embeddings": positions.num_rows,
        "num_attention_heads": max(tokens.shape[1] // CLIP_HEAD_WIDTH, 1),
        "num_hidden_layers": 1 + max(layers),
        "projection_dim": projection.num_rows if projection else tokens.shape[1],
        "vocab_size": tokens.num_rows,
    }


def _of_sdxl(tensors: Mapping[str, LazyTensor], widths: Sequence[int]) -> dict[str, Any]:
    """Return the settings specific to SDXL's UNet: heads of width 64, transformer depths, the added embedding."""
    blocks = _levels(tensors, r"down_blocks\.(\d+)\.attentions\.0\.transformer_blocks\.(\d+)\.norm1\.weight")
    depths = [1 + max((block for at, block in blocks if at == level), default=0) for level in range(len(widths))]
    return {
        "attention_head_dim": [max(width // SDXL_HEAD_WIDTH, 1) for width in widths],  # number of heads
        "transformer_layers_per_block": depths,
        "projection_class_embeddings_input_dim": tensors["add_embedding.linear_1.weight"].shape[1],
    }


def _levels(tensors: Mapping[str, LazyTensor], pattern: str) -> dict[tuple[int, int], LazyTensor]:
    found = ((re.fullmatch(pattern, key), tensor) for key, tensor in tensors.items())
    return {(int(match[1]) if match[1].isdecimal() else 0, int(match[2])): tensor for match, tensor in found if match}
