"""Models to benchmark: real classes with random weights, the same tensors for both contenders."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from animdiff_cli.motion import MotionModule, MotionSpec
from animdiff_cli.weights.model_configs import shipped_config

CROSS = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3


@dataclass(frozen=True, slots=True)
class Size:
    """Widths of one model. `sd15` has the real size: 860 M image and 417 M motion parameters; `sdxl` too, 2.6 G.

    SDXL has two text encoders, whose widths add up to `text`.
    """

    unet: tuple[int, ...]
    layers: int
    vae: tuple[int, ...]
    text: int  # width of the text that the UNet reads
    text_layers: int
    text_2: int = 0  # width of SDXL's second text encoder
    text_2_layers: int = 0

    def unet_config(self) -> Mapping[str, Any]:
        """Return the config of the UNet."""
        if self.text_2:
            widths = tuple(self.unet)
            changes = {"block_out_channels": widths, "cross_attention_dim": self.text, "layers_per_block": self.layers}
            pooled = 6 * 256 + self.text_2  # six sizes of 256 channels each
            changes |= {"projection_class_embeddings_input_dim": pooled}
            return {**shipped_config("sdxl", "unet"), **changes}
        return {
            "down_block_types": CROSS[0],
            "up_block_types": CROSS[1],
            "block_out_channels": self.unet,
            "layers_per_block": self.layers,
            "cross_attention_dim": self.text,
            "attention_head_dim": 8,
        }


SIZES = {
    "sd15": Size((320, 640, 1280, 1280), 2, (128, 256, 512, 512), 768, 12),
    "small": Size((64, 128, 256, 256), 2, (32, 64, 128, 128), 768, 4),
    "pocket": Size((64, 128, 160, 160), 1, (32, 64, 96, 96), 128, 3),
    "sdxl": Size((320, 640, 1280), 2, (128, 256, 512, 512), 2048, 12, 1280, 32),
    "tiny": Size((32, 32, 32, 32), 1, (16, 16, 16, 16), 64, 1),  # to try a script
    "tiny-xl": Size((160, 160, 160), 1, (16, 16, 16, 16), 128, 1, 64, 1),
}


@dataclass(frozen=True, slots=True)
class Parts:
    """An image model and a compatible motion module."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    motion: MotionModule
    text_encoder_2: Any = None
    tokenizer_2: Any = None
    zeros_for_empty: bool = False


def build(name: str, device: torch.device, dtype: torch.dtype, *, max_frames: int) -> Parts:
    """Build random weights on `device`; the motion module's last layers too, so that nothing is skipped."""
    size = SIZES[name]
    torch.manual_seed(0)
    with torch.device(device):
        unet = UNet2DConditionModel.from_config(size.unet_config())
        vae = build_vae(size, device)
        text_encoder = CLIPTextModel(_text_config(size.text - size.text_2, size.text_layers))
        second = _second_text_encoder(size)
        fitting = MotionSpec.for_unet(unet.config, "sdxl" if size.text_2 else "v3")
        motion = MotionModule(replace(fitting, max_frames=max(max_frames, 32)))
        for parameter in motion.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.01)
    for part in filter(None, (unet, vae, text_encoder, second, motion)):
        part.to(dtype).eval().requires_grad_(False)
    return Parts(unet, vae, text_encoder, byte_tokenizer(), motion, second, byte_tokenizer() if second else None)


def build_vae(size: Size, device: torch.device) -> AutoencoderKL:
    """Build an autoencoder of random weights, float32."""
    with torch.device(device):
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=size.vae,
            layers_per_block=2,
            norm_num_groups=32 if size.vae[0] % 32 == 0 else 16,
        )


def byte_tokenizer() -> CLIPTokenizer:
    """Build a byte-level CLIP tokenizer, without a vocabulary file."""
    characters = list(bytes_to_unicode().values())
    words = [*characters, *(c + "</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77)


def _second_text_encoder(size: Size) -> CLIPTextModelWithProjection | None:
    if not size.text_2:
        return None
    config = _text_config(size.text_2, size.text_2_layers)
    return CLIPTextModelWithProjection(config)


def _text_config(width: int, layers: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64 or 1,
        projection_dim=width,
        vocab_size=514,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )
