"""Classify the object, colour and place in an image with a small network trained on renders of the world."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from tools.pocket.labelled import Labelled, draw_labelled
from tools.pocket.world import COLOURS, OBJECTS, PLACES, VERSION

CLIPS = 4000
HELD_OUT_CLIPS = 600
EPOCHS = 6
BATCH = 128
SEED = 20


@dataclass(frozen=True, slots=True)
class Reading:
    """Predicted object, colour and place of an image."""

    kind: str
    colour: str
    place: str


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy on held-out renders, and their number."""

    kind: float
    colour: float
    place: float
    images: int


class Classifier(nn.Module):
    """Four strided convolutions and three linear heads; images come as [B, 3, 64, 64] in -1 to 1."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 160)
        self.body = nn.Sequential(
            *(stage(*pair, stride) for pair, stride in zip(pairwise(widths), (2, 2, 2, 1), strict=True))
        )
        self.heads = nn.ModuleList(nn.Linear(2 * widths[-1], len(names)) for names in (OBJECTS, COLOURS, PLACES))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of objects [B, 12], colours [B, 8] and places [B, 6]."""
        features = self.body(images)
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        kind, colour, place = (head(F.dropout(pooled, 0.1, self.training)) for head in self.heads)
        return kind, colour, place


@torch.inference_mode()
def read(classifier: Classifier, images: np.ndarray) -> list[Reading]:
    """Classify `images`, uint8 [N, H, W, 3]."""
    scores = classifier(to_input(images))
    kinds, colours, places = (one.argmax(dim=1).tolist() for one in scores)
    return [Reading(OBJECTS[k], COLOURS[c], PLACES[p]) for k, c, p in zip(kinds, colours, places, strict=True)]


def is_constant(classifier: Classifier, frames: np.ndarray) -> bool:
    """Return True if all frames (uint8 [F, H, W, 3]) are classified as the same object in the same colour."""
    return len({(reading.kind, reading.colour) for reading in read(classifier, frames)}) == 1


def to_input(images: np.ndarray) -> Tensor:
    """Convert uint8 [N, H, W, 3] to the input of the classifier, float32 [N, 3, 64, 64]."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return F.interpolate(pixels, size=(64, 64), mode="area")


def stage(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    """Build a 3 x 3 convolution with normalization and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


def trained_classifier(
    work: Path, tell: Callable[[str], None], *, clips: int = CLIPS, epochs: int = EPOCHS
) -> tuple[Classifier, Accuracy]:
    """Load the classifier from `work`, or train it (some minutes) and save it there."""
    kept = work / f"classifier-world{VERSION}.safetensors"
    if kept.is_file():
        return _load(kept)
    tell(f"drawing {clips} clips to train the classifier on")
    classifier = train(draw_labelled(clips, np.random.default_rng(SEED)), tell, epochs=epochs)
    accuracy = measure_accuracy(classifier, draw_labelled(HELD_OUT_CLIPS, np.random.default_rng(SEED + 1)))
    work.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_suffix(".part")
    save_file(classifier.state_dict(), unfinished, metadata={"accuracy": json.dumps(asdict(accuracy))})
    unfinished.replace(kept)
    return classifier, accuracy


def train(data: Labelled, tell: Callable[[str], None], *, epochs: int = EPOCHS, seed: int = SEED) -> Classifier:
    """Train on labelled frames: cross entropy on the three heads, learning rate decayed to zero."""
    torch.manual_seed(seed)
    classifier = Classifier()
    steps = epochs * (len(data.images) // BATCH)
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps)
    images, labels = to_input(data.images), torch.from_numpy(data.labels)
    for epoch in range(epochs):
        losses = []
        for batch in torch.randperm(len(images))[: len(images) // BATCH * BATCH].split(BATCH):
            loss = _loss(classifier(images[batch]), labels[batch])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.detach())
        tell(f"classifier epoch {epoch + 1}/{epochs}: loss {torch.stack(losses).mean():.4f}")
    return classifier.eval()


@torch.inference_mode()
def measure_accuracy(classifier: Classifier, data: Labelled) -> Accuracy:
    """Measure the accuracy of the classifier on labelled frames."""
    scores = classifier(to_input(data.images))
    labels = torch.from_numpy(data.labels)
    right = [(one.argmax(dim=1) == labels[:, head]).double().mean().item() for head, one in enumerate(scores)]
    return Accuracy(kind=right[0], colour=right[1], place=right[2], images=len(data.images))


def _loss(scores: tuple[Tensor, Tensor, Tensor], labels: Tensor) -> Tensor:
    return torch.stack([F.cross_entropy(one, labels[:, head]) for head, one in enumerate(scores)]).sum()


def _load(path: Path) -> tuple[Classifier, Accuracy]:
    classifier = Classifier()
    with safe_open(path, framework="pt") as file:
        classifier.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        accuracy = Accuracy(**json.loads(file.metadata()["accuracy"]))
    return classifier.eval(), accuracy
