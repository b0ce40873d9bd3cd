"""Upper bounds set by the autoencoder: true clips of each style, encoded, decoded and measured like rendered clips.

No image model can reach higher shares than these.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from animdiff_cli.diffusion.decode import decode
from animdiff_cli.training.data.latents import encode_clip
from tools.pocket.law_checks import obeys
from tools.pocket.report import write_json
from tools.pocket.style_reader import name_styles, trained_style_reader
from tools.pocket.world import OBJECTS, random_scene, render


def file_of(work: Path, style: str) -> Path:
    """Return the file of the values of a style."""
    return work / "readings" / "ceiling" / f"{style}.json"


def read_ceiling(work: Path, style: str, vae_folder: Path, clips: int, seed: int, log: Path) -> None:
    """Draw `clips` clips of a style, pass them through the autoencoder of its model, and write the measured values."""
    from diffusers import AutoencoderKL

    with log.open("a", encoding="utf-8") as said:
        reader, _ = trained_style_reader(work, lambda message: print(message, file=said, flush=True))
    vae = AutoencoderKL.from_pretrained(vae_folder, torch_dtype=torch.float32).eval()
    values = []
    for number in range(clips):
        scene = random_scene(np.random.default_rng((seed, number)), kind=OBJECTS[number % len(OBJECTS)])
        frames = through(vae, render(scene, style=style))
        kept = float(np.mean([name == style for name in name_styles(reader, frames)]))
        values.append({"kept": kept, "obeys": bool(obeys(frames, scene.kind, scene.colour, style=style))})
    write_json(file_of(work, style), {"clips": values})


def through(vae: Any, frames: np.ndarray) -> np.ndarray:
    """Encode and decode frames, uint8 [F, H, W, 3] in and out."""
    means = encode_clip(vae, frames).mean.float()  # [F, 4, h, w], not scaled
    return decode(vae, (means * vae.config.scaling_factor).transpose(0, 1).unsqueeze(0))
