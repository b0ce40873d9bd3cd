"""Models to benchmark: real classes with random weights, the same tensors for both contenders."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from animdiff_cli.motion import MotionModule, MotionSpec

CROSS = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3


@dataclass(frozen=True, slots=True)
class Size:
    """Widths of one model. `sd15` has the real size: 860 M image and 417 M motion parameters."""

    unet: tuple[int, ...]
    layers: int
    vae: tuple[int, ...]
    text: int  # width of the text encoder
    text_layers: int


SIZES = {
    "sd15": Size((320, 640, 1280, 1280), 2, (128, 256, 512, 512), 768, 12),
    "small": Size((64, 128, 256, 256), 2, (32, 64, 128, 128), 768, 4),
    "pocket": Size((64, 128, 160, 160), 1, (32, 64, 96, 96), 128, 3),
    "tiny": Size((32, 32, 32, 32), 1, (16, 16, 16, 16), 64, 1),  # to try a script
}


@dataclass(frozen=True, slots=True)
class Parts:
    """An image model and a compatible motion module."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    motion: MotionModule
    text_encoder_2: None = None
    tokenizer_2: None = None
    zeros_for_empty: bool = False


def build(name: str, device: torch.device, dtype: torch.dtype, *, max_frames: int) -> Parts:
    """Build random weights on `device`; the motion module's last layers too, so that nothing is skipped."""
    size = SIZES[name]
    torch.manual_seed(0)
    with torch.device(device):
        unet = UNet2DConditionModel(
            down_block_types=CROSS[0],
            up_block_types=CROSS[1],
            block_out_channels=size.unet,
            layers_per_block=size.layers,
            cross_attention_dim=size.text,
            attention_head_dim=8,
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=size.vae,
            layers_per_block=2,
            norm_num_groups=32 if size.vae[0] % 32 == 0 else 16,
        )
        text_encoder = CLIPTextModel(_text_config(size))
        fitting = MotionSpec.for_unet(unet.config, "v3")
        motion = MotionModule(MotionSpec("v3", fitting.down, fitting.mid, fitting.up, max(max_frames, 32)))
        for parameter in motion.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.01)
    for part in (unet, vae, text_encoder, motion):
        part.to(dtype).eval().requires_grad_(False)
    return Parts(unet, vae, text_encoder, byte_tokenizer(), motion)


def byte_tokenizer() -> CLIPTokenizer:
    """Build a byte-level CLIP tokenizer, without a vocabulary file."""
    characters = list(bytes_to_unicode().values())
    words = [*characters, *(c + "</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77)


def _text_config(size: Size) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=size.text,
        intermediate_size=4 * size.text,
        num_hidden_layers=size.text_layers,
        num_attention_heads=size.text // 64 or 1,
        vocab_size=514,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )
