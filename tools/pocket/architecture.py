"""The pocket model's networks: the architecture of Stable Diffusion 1.5 with fewer channels, from the same classes."""

from dataclasses import dataclass

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tools.pocket.tokenizer import MAX_LENGTH

LATENT_CHANNELS = 4
DOWNSCALE = 8  # image pixels per latent pixel
IMAGE_SIZE = 128  # pixels
NUM_FRAMES = 16

_CROSS_DOWN, _CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"


@dataclass(frozen=True, slots=True)
class Architecture:
    """Channel counts of every part. Four UNet levels, so that each plug point of SD1.5 exists."""

    vae_channels: tuple[int, int, int, int] = (32, 64, 96, 96)
    vae_norm_groups: int = 16
    unet_channels: tuple[int, int, int, int] = (64, 96, 128, 128)
    text_width: int = 128
    text_layers: int = 3
    text_heads: int = 4


#: What ships: 2.4 M (VAE), 7.5 M (UNet), 0.7 M (text encoder) and 3.1 M (motion module) parameters.
STANDARD = Architecture()
#: For tests: every part and plug point, a few thousand parameters each.
TINY = Architecture((8, 8, 8, 8), 4, (32, 32, 32, 32), 32, 1, 2)


def build_vae(architecture: Architecture, scaling_factor: float = 1.0) -> AutoencoderKL:
    """Build an autoencoder: images [B, 3, H, W] in [-1, 1] to latents [B, 4, H/8, W/8]."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=architecture.vae_channels,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=architecture.vae_norm_groups,
        sample_size=IMAGE_SIZE,
        scaling_factor=scaling_factor,
    )


def build_unet(architecture: Architecture) -> UNet2DConditionModel:
    """Build the noise predictor over latents [B, 4, 16, 16]."""
    return UNet2DConditionModel(
        sample_size=IMAGE_SIZE // DOWNSCALE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=(_CROSS_DOWN, _CROSS_DOWN, _CROSS_DOWN, "DownBlock2D"),
        up_block_types=("UpBlock2D", _CROSS_UP, _CROSS_UP, _CROSS_UP),
        block_out_channels=architecture.unet_channels,
        layers_per_block=1,
        attention_head_dim=8,  # diffusers uses it as the number of heads, as in the config of SD1.5
        cross_attention_dim=architecture.text_width,
        norm_num_groups=32,
    )


def build_text_encoder(architecture: Architecture, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build the text encoder: token ids [B, 77] to features [B, 77, D]."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.text_width,
        intermediate_size=4 * architecture.text_width,
        projection_dim=architecture.text_width,
        num_hidden_layers=architecture.text_layers,
        num_attention_heads=architecture.text_heads,
        max_position_embeddings=MAX_LENGTH,
        hidden_act="quick_gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def build_scheduler(*, motion: bool) -> DDIMScheduler:
    """Build SD1.5's noise schedule, or with `motion` the linear one of the paper (same endpoints)."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="linear" if motion else "scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
        prediction_type="epsilon",
    )
