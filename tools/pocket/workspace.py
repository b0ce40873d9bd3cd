"""The working folder of a training run, and the trained parts of the model in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from animdiff_cli.motion.module import TemporalTransformer
from tools.pocket.architecture import Architecture, build_text_encoder, build_unet, build_vae
from tools.pocket.data import Chunk, finished_chunks, sample_captions
from tools.pocket.latents import Clips, prepare_clips
from tools.pocket.loop import Trained, load_trained
from tools.pocket.optimiser import load_weights
from tools.pocket.stages.vae import normalise_latents
from tools.pocket.tokenizer import build_tokenizer, load_tokenizer

Module = TypeVar("Module", bound=torch.nn.Module)

CAPTIONS_FOR_TOKENIZER = 5000
FRAMES_TO_MEASURE = 1024  # to measure mean and standard deviation of the latents
REPEATED = (ResnetBlock2D, BasicTransformerBlock, TemporalTransformer)
SEED = 1  # of initial weights and of sampling during training


@dataclass(frozen=True, slots=True)
class Scale:
    """Amounts of data, batch sizes and learning rates for a kind of device."""

    clips: int
    vae_frames: int  # in device memory as uint8, 48 KiB each
    vae_batch: int
    crop: int  # pixels
    vae_lr: float
    image_batch: int  # frames
    image_lr: float
    motion_batch: int  # clips
    motion_lr: float


SCALES = {
    "cuda": Scale(16_000, 60_000, 64, 128, 8e-4, 512, 1e-3, 48, 6e-4),
    "cpu": Scale(800, 4_000, 16, 64, 8e-4, 32, 5e-4, 2, 3e-4),
    #: for tests: every part runs on any machine
    "tiny": Scale(32, 256, 4, 64, 8e-4, 8, 5e-4, 1, 3e-4),
}


@dataclass(frozen=True, slots=True)
class Workspace:
    """Folder, device and settings of a training run."""

    folder: Path
    device: torch.device
    dtype: torch.dtype  # of the computation; weights are float32
    architecture: Architecture
    scale: Scale
    compiled: bool = False  # torch.compile the UNet: minutes to start, so for long runs

    def file(self, stage: str) -> Path:
        """Return the path of the state of `stage`."""
        return self.folder / f"{stage}.pt"

    def trained(self, stage: str) -> Trained:
        """Return the trained weights of `stage`. Raises `UsageError` if it has not begun."""
        return load_trained(self.file(stage))

    def generator(self) -> torch.Generator:
        """Return the generator of a stage."""
        return torch.Generator(self.device).manual_seed(SEED)

    def chunks(self) -> list[Chunk]:
        """Return the clips rendered so far."""
        return finished_chunks(self.folder / "data")

    def frames(self) -> Tensor:
        """Return evenly spaced frames of all clips for the autoencoder: uint8 [N, H, W, 3] on the device."""
        return pick_frames(self.chunks(), self.scale.vae_frames, self.device)

    def tokenizer(self) -> CLIPTokenizer:
        """Load the tokenizer, or train and save it on first use."""
        folder = self.folder / "tokenizer"
        if not (folder / "tokenizer.json").exists():
            build_tokenizer(sample_captions(CAPTIONS_FOR_TOKENIZER)).save_pretrained(folder)
        return load_tokenizer(folder)

    def normalised_vae(self) -> AutoencoderKL:
        """Return the autoencoder of stage 1 in float32, with latents normalized to mean 0 and standard deviation 1."""
        vae = build_vae(self.architecture)
        file = self.folder / "vae_normalised.pt"
        if file.exists():
            vae.load_state_dict(torch.load(file, weights_only=True))
            return vae.to(self.device)
        load_weights(vae, "vae", self.trained("vae").weights)
        vae.to(self.device)
        normalise_latents(vae, self.frames()[:: max(1, self.scale.vae_frames // FRAMES_TO_MEASURE)])
        torch.save(vae.state_dict(), file)
        return vae

    def vae(self) -> AutoencoderKL:
        """Return the autoencoder with the decoder of stage 2, in float32."""
        vae, weights = self.normalised_vae(), self.trained("decoder").weights
        load_weights(vae.decoder, "decoder", weights)
        load_weights(vae.post_quant_conv, "post_quant_conv", weights)
        return vae

    def clips(self) -> Clips:
        """Return the training set as latents and tokens. Encodes it on first use."""
        vae = self.normalised_vae().to(self.dtype)
        return prepare_clips(self.chunks(), vae, self.tokenizer(), self.folder / "clips.pt").to(self.device)

    def fresh_image_model(self) -> tuple[UNet2DConditionModel, CLIPTextModel]:
        """Build an untrained UNet and text encoder with fixed random weights."""
        with torch.random.fork_rng():
            torch.manual_seed(SEED)
            unet, text_encoder = build_unet(self.architecture), build_text_encoder(self.architecture, self.tokenizer())
        return self.to_train(unet), self.to_train(text_encoder)

    def image_model(self) -> tuple[UNet2DConditionModel, CLIPTextModel]:
        """Return the UNet and text encoder of stage 3, frozen, in float32 on the CPU."""
        unet, text_encoder = build_unet(self.architecture), build_text_encoder(self.architecture, self.tokenizer())
        weights = self.trained("image").weights
        load_weights(unet, "unet", weights)
        load_weights(text_encoder, "text_encoder", weights)
        return unet.eval().requires_grad_(False), text_encoder.eval().requires_grad_(False)

    def compile(self, *modules: torch.nn.Module) -> None:
        """Compile the layers of the modules in place, if enabled. Names and weights do not change."""
        if self.compiled:
            compile_layers(*modules)

    def to_train(self, module: Module) -> Module:
        """Move a module to the device, dtype and memory layout of training."""
        # oneDNN (torch 2.13, CPU) crashes in the backward pass of frozen channels-last convolutions
        layout = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        return module.to(self.device, self.dtype, memory_format=layout)


def compile_layers(*modules: torch.nn.Module) -> None:
    """Compile the forward of every repeated layer of a UNet and a motion module.

    Layers of the same shape share compiled code, so that this starts several times faster than compiling the network.
    """
    torch._dynamo.config.suppress_errors = True  # layers that do not compile run eagerly
    torch._dynamo.config.recompile_limit = 64
    layers = {layer for module in modules for layer in module.modules() if isinstance(layer, REPEATED)}
    for layer in layers:
        layer.compile(dynamic=False)


def pick_frames(chunks: Sequence[Chunk], count: int, device: torch.device | str) -> Tensor:
    """Return about `count` evenly spaced frames of `chunks`: uint8 [N, H, W, 3] on the device."""
    rng = np.random.default_rng(SEED)
    share = -(-count // len(chunks))
    return torch.cat([torch.from_numpy(_some_frames(chunk, share, rng)).to(device) for chunk in chunks])


def _some_frames(chunk: Chunk, count: int, rng: np.random.Generator) -> np.ndarray:
    frames = chunk.frames()
    clips, num_frames = frames.shape[:2]
    chosen = rng.permutation(clips * num_frames)[:count]
    return frames[chosen // num_frames, chosen % num_frames]
