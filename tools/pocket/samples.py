"""Sample images during training: reconstructions, stills, and clips as strips of frames."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from animdiff_cli.motion import MotionModule, plug, unplug
from tools.pocket.architecture import LATENT_CHANNELS, NUM_FRAMES, build_scheduler
from tools.pocket.latents import to_pixels, tokenize
from tools.pocket.save import MOTION_FILE
from tools.pocket.workspace import Workspace
from tools.pocket.world import COLOURS, OBJECTS, PLACES

STEPS = 25
GUIDANCE_SCALE = 6.0
DECODE_BATCH = 64  # frames


@dataclass(frozen=True, slots=True)
class Bundle:
    """A saved pocket model, loaded for sampling."""

    pipeline: StableDiffusionPipeline
    motion: MotionModule | None


def load_bundle(folder: Path, device: torch.device) -> Bundle:
    """Load a bundle in float32, with its motion module if it has one."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32).to(device)
    if not (folder / MOTION_FILE).exists():
        return Bundle(pipeline, None)
    motion = MotionModule.from_unet(pipeline.unet, version="v3")
    motion.load_state_dict(load_file(folder / MOTION_FILE))
    return Bundle(pipeline, motion.eval().requires_grad_(False))


def draw_sheets(workspace: Workspace, bundle_folder: Path, out: Path, count: int, steps: int = STEPS) -> list[Path]:
    """Draw `count` stills and half as many clips with a saved bundle; return the PNG files written."""
    bundle = load_bundle(bundle_folder, workspace.device)
    prompts = sample_prompts(count)
    stills = draw(bundle, prompts, motion=False, steps=steps)
    frames = workspace.frames()
    sheets = {
        "reconstructions.png": _reconstructions(bundle.pipeline.vae, frames[:: max(1, len(frames) // 8)][:8]),
        "stills.png": np.concatenate([stills[row : row + 8, 0] for row in range(0, count, 8)], axis=1),
    }
    if bundle.motion is not None:
        sheets["motion.png"] = draw(bundle, prompts[: max(1, count // 2)], motion=True, steps=steps).swapaxes(0, 1)
    return [_write_sheet(out / name, images) for name, images in sheets.items()]


def sample_prompts(count: int) -> list[str]:
    """Return prompts that step through objects, colours and places at different strides, so that all appear early.

    >>> len(set(sample_prompts(24)))
    24
    """
    return [
        f"a {COLOURS[(3 * i + i // 8) % len(COLOURS)]} {OBJECTS[i % len(OBJECTS)]} {PLACES[(i + i // 6) % len(PLACES)]}"
        for i in range(count)
    ]


@torch.no_grad()
def draw(bundle: Bundle, prompts: Sequence[str], *, motion: bool, seed: int = 0, steps: int = STEPS) -> np.ndarray:
    """Sample with DDIM: uint8 [P, F, H, W, 3], with 16 frames, or one without `motion`."""
    pipeline, num_frames = bundle.pipeline, NUM_FRAMES if motion else 1
    scheduler = build_scheduler(motion=motion)
    scheduler.set_timesteps(steps)
    unet, device = pipeline.unet, pipeline.unet.device
    tokens = tokenize(pipeline.tokenizer, [*[""] * len(prompts), *prompts]).to(device)
    text = pipeline.text_encoder(tokens)[0].repeat_interleave(num_frames, dim=0)
    side = unet.config.sample_size
    noise = torch.randn(
        len(prompts) * num_frames, LATENT_CHANNELS, side, side, generator=torch.Generator().manual_seed(seed)
    )
    latents = noise.to(device)
    if motion and bundle.motion is not None:
        attached = plug(unet, bundle.motion)
    with attached.frames(num_frames) if motion and bundle.motion is not None else nullcontext():
        for timestep in scheduler.timesteps:
            both = unet(latents.repeat(2, 1, 1, 1), timestep, encoder_hidden_states=text).sample
            without, with_prompt = both.chunk(2)
            guided = without + GUIDANCE_SCALE * (with_prompt - without)
            latents = scheduler.step(guided, timestep, latents).prev_sample
    unplug(unet)
    frames = torch.cat([_decode(pipeline.vae, part) for part in latents.split(DECODE_BATCH)])
    return frames.unflatten(0, (len(prompts), num_frames)).numpy()


def _decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    return _to_bytes(vae.decode(latents / vae.config.scaling_factor).sample)


def _to_bytes(pixels: Tensor) -> Tensor:
    """Map [B, 3, H, W] in [-1, 1] to uint8 [B, H, W, 3] on the CPU."""
    return ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu()


@torch.no_grad()
def _reconstructions(vae: AutoencoderKL, frames: Tensor) -> np.ndarray:
    """Stack frames above their reconstructions: uint8 [N, 2H, W, 3]."""
    latents = vae.encode(to_pixels(frames, vae.dtype)).latent_dist.mean
    return torch.cat([frames.cpu(), _to_bytes(vae.decode(latents).sample)], dim=1).numpy()


def _write_sheet(file: Path, columns: np.ndarray) -> Path:
    """Write images [N, ..., 3], each a column (stacked if there are more axes), side by side."""
    stacked = columns.reshape(len(columns), -1, *columns.shape[-2:])
    Image.fromarray(np.concatenate(list(stacked), axis=1)).save(file)
    return file
