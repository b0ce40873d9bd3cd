"""Classify the drawing style of an image with a small network trained on degraded renders of every style."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from tools.pocket.classify import stage, to_input
from tools.pocket.degrade import degrade
from tools.pocket.styles import STYLES
from tools.pocket.world import VERSION, random_scene, render

IMAGES = 5000
HELD_OUT = 1500
EPOCHS = 5
BATCH = 64
SEED = 40


class StyleReader(nn.Module):
    """Three strided convolutions and a linear head; images come as [B, 3, 64, 64] in -1 to 1."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 64)
        self.body = nn.Sequential(*(stage(*pair, 2) for pair in pairwise(widths)))
        self.head = nn.Linear(2 * widths[-1], len(STYLES))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of the styles: [B, len(STYLES)]."""
        features = self.body(images)
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        return self.head(F.dropout(pooled, 0.2, self.training))


@torch.inference_mode()
def name_styles(reader: StyleReader, images: np.ndarray) -> list[str]:
    """Classify the style of `images`, uint8 [N, H, W, 3]."""
    names = tuple(STYLES)
    return [names[number] for number in reader(to_input(images)).argmax(dim=1).tolist()]


def trained_style_reader(
    work: Path, tell: Callable[[str], None], *, images: int = IMAGES, held_out: int = HELD_OUT
) -> tuple[StyleReader, float]:
    """Load the style reader from `work`, or train it (a minute) and save it there.

    Also returns its accuracy on held-out degraded renders.
    """
    kept = work / f"style-reader-world{VERSION}.safetensors"
    if kept.is_file():
        return _load(kept)
    tell(f"drawing {images} stills to train the style reader on")
    reader = train_style_reader(*draw_styled(images, SEED), tell)
    accuracy = read_rightly(reader, *draw_styled(held_out, SEED + 1))
    work.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_suffix(".part")
    save_file(reader.state_dict(), unfinished, metadata={"accuracy": json.dumps(accuracy)})
    unfinished.replace(kept)
    return reader, accuracy


def draw_styled(count: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Draw degraded stills of alternating styles: uint8 [N, 128, 128, 3], and the name of the style of each."""
    rng, names = np.random.default_rng(seed), [tuple(STYLES)[number % len(STYLES)] for number in range(count)]
    moments = rng.integers(16, size=count).tolist()
    stills = (
        render(random_scene(rng), num_frames=1, first_frame=moment, style=name)
        for name, moment in zip(names, moments, strict=True)
    )
    return np.concatenate([degrade(still, rng) for still in stills]), names


def train_style_reader(
    images: np.ndarray, names: list[str], tell: Callable[[str], None], *, epochs: int = EPOCHS
) -> StyleReader:
    """Train on images uint8 [N, H, W, 3] and their styles, with the learning rate decayed to zero."""
    torch.manual_seed(SEED)
    reader, inputs = StyleReader(), to_input(images)
    labels = torch.tensor([tuple(STYLES).index(name) for name in names])
    optimiser = torch.optim.AdamW(reader.parameters(), lr=2e-3, weight_decay=0.02)
    steps = epochs * -(-len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps)
    for epoch in range(epochs):
        losses = []
        for batch in torch.randperm(len(inputs)).split(BATCH):
            loss = F.cross_entropy(reader(inputs[batch]), labels[batch])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.detach())
        tell(f"style reader epoch {epoch + 1}/{epochs}: loss {torch.stack(losses).mean():.4f}")
    return reader.eval()


def read_rightly(reader: StyleReader, images: np.ndarray, names: list[str]) -> float:
    """Return the accuracy of the predicted styles."""
    return float(np.mean([read == name for read, name in zip(name_styles(reader, images), names, strict=True)]))


def _load(path: Path) -> tuple[StyleReader, float]:
    reader = StyleReader()
    with safe_open(path, framework="pt") as file:
        reader.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        accuracy = float(json.loads(file.metadata()["accuracy"]))
    return reader.eval(), accuracy
