"""`python -m tools.pocket encoder --out DIR`: train a small CLIP on the world, to compute the paper's metrics on a CPU.

Trains a stock `CLIPModel` contrastively on rendered frames and their captions, and saves it to a folder for
`animdiff evaluate --clip DIR`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from animdiff_cli.diffusion.device import probe_machine
from animdiff_cli.files.atomic import atomic_write
from animdiff_cli.metrics.clip_score import MEAN, STD
from animdiff_cli.paths import pocket_dir
from tools.pocket.captions import word
from tools.pocket.command import tell
from tools.pocket.labelled import SIDE, Labelled, draw_labelled
from tools.pocket.latents import tokenize
from tools.pocket.tokenizer import MAX_LENGTH, load_tokenizer
from tools.pocket.world import COLOURS, OBJECTS, PLACES, VERSION

SEED = 30
BATCH = 128
PEAK_LR = 1e-3
CPU = torch.device("cpu")
CLIPS, HELD_OUT_CLIPS = 1500, 100
#: training settings and accuracy, saved beside the weights
FACTS = "encoder.json"
#: captions are short: later positions are never trained
TOKENS = 18


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of both halves of the encoder."""

    width: int = 96
    layers: int = 3
    heads: int = 4
    patch: int = 8
    joint: int = 64


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Accuracy of matching held-out frames to their captions among captions with one word changed."""

    kind: float
    colour: float
    place: float
    images: int


def main(argv: Sequence[str]) -> int:
    """Train for the given minutes, save, and print the folder; return the exit status."""
    arguments = _parser().parse_args(argv)
    if arguments.out.exists() and not (arguments.out / FACTS).is_file():
        tell(f"error: {arguments.out} is there and no encoder of ours, so it is not replaced")
        return 2
    tokenizer = load_tokenizer(pocket_dir() / "tokenizer")
    tell(f"drawing {arguments.clips} clips")
    data = draw_labelled(arguments.clips, np.random.default_rng(SEED))
    model = train(data, tokenizer, tell, minutes=arguments.minutes, device=torch.device(arguments.device))
    found = retrieval(model, tokenizer, draw_labelled(HELD_OUT_CLIPS, np.random.default_rng(SEED + 1)))
    tell(f"finds the right word: object {found.kind:.1%}, colour {found.colour:.1%}, place {found.place:.1%}")
    save(model, tokenizer, arguments.out, {"minutes": arguments.minutes, "world_version": VERSION, **asdict(found)})
    print(arguments.out)
    return 0


def build(tokenizer: CLIPTokenizer, shape: Shape) -> CLIPModel:
    """Build the encoder with random weights, for images of 64 pixels and the pocket model's tokenizer."""
    layers = {
        "hidden_size": shape.width,
        "intermediate_size": 4 * shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "projection_dim": shape.joint,
    }
    text = CLIPTextConfig(
        **layers,
        vocab_size=len(tokenizer),
        max_position_embeddings=MAX_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(**layers, image_size=SIDE, patch_size=shape.patch)
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=shape.joint))


def train(
    data: Labelled,
    tokenizer: CLIPTokenizer,
    tell: Callable[[str], None],
    *,
    minutes: float,
    steps: int | None = None,
    shape: Shape | None = None,
    batch: int = BATCH,
    device: torch.device = CPU,
) -> CLIPModel:
    """Train on random frames and captions with CLIP's symmetric cross entropy.

    There are few distinct captions, so a batch contains several frames with the same one: each counts as a match.
    `steps` sets the number of steps instead of the time.
    """
    torch.manual_seed(SEED)
    model = build(tokenizer, shape or Shape()).to(device)
    has_bfloat16 = device.type == "cuda" or probe_machine().cpu_bf16
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, betas=(0.9, 0.98), weight_decay=0.1)
    rng = np.random.default_rng(SEED)
    began, step, losses = time.monotonic(), 0, []
    while (share := step / steps if steps else (time.monotonic() - began) / (60 * minutes)) < 1 or step == 0:
        for group in optimiser.param_groups:
            group["lr"] = PEAK_LR * min(1.0, (step + 1) / 50) * max(0.01, 1 - share)
        pairs = _pairs(data, _draw(data, batch, rng, share), tokenizer, rng)
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16):
            loss = _loss(model, *(part.to(device) for part in pairs))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        step += 1
        losses.append(loss.item())
        if step % 50 == 0:
            tell(f"step {step}, {share:.0%} of {minutes:g} min: loss {np.mean(losses[-50:]):.3f}")
    return model.cpu().eval()


@torch.inference_mode()
def retrieval(model: CLIPModel, tokenizer: CLIPTokenizer, data: Labelled) -> Retrieval:
    """Classify object, colour and place of every frame, each with the other two given."""
    images = F.normalize(model.get_image_features(pixels(data.images)).pooler_output, dim=1)
    hits: list[float] = []
    for part, words in enumerate((OBJECTS, COLOURS, PLACES)):
        right = 0
        for image, label in zip(images, data.labels, strict=True):
            named = [OBJECTS[label[0]], COLOURS[label[1]], PLACES[label[2]]]
            texts = [_plain(*named[:part], other, *named[part + 1 :]) for other in words]
            features = _text_features(model, tokenize(tokenizer, texts))
            right += int((features @ image).argmax()) == label[part]
        hits.append(float(right / len(images)))
    return Retrieval(*hits, images=len(images))


def pixels(images: np.ndarray) -> Tensor:
    """Preprocess frames of the encoder's size, uint8 [N, 64, 64, 3], as `animdiff evaluate` does."""
    colours = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return (colours - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def save(model: CLIPModel, tokenizer: CLIPTokenizer, folder: Path, facts: dict[str, object]) -> None:
    """Write the folder for `--clip` atomically, replacing an earlier one."""
    with atomic_write(folder) as unfinished:
        unfinished.mkdir(parents=True)
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        preparation = {"image_mean": MEAN, "image_std": STD, "size": SIDE, "crop_size": SIDE, "resample": 3}
        (unfinished / "preprocessor_config.json").write_text(json.dumps(preparation, indent=2) + "\n")
        (unfinished / FACTS).write_text(json.dumps(facts, indent=2) + "\n")


def _draw(data: Labelled, batch: int, rng: np.random.Generator, share: float) -> np.ndarray:
    """Sample frames: any at first, then more and more often those of one colour in one place.

    Colours and places are learned in a minute; objects only if the frames of a batch differ in nothing else.
    """
    if rng.random() >= 0.7 * share:
        return rng.integers(len(data.images), size=batch)
    anchor = data.labels[rng.integers(len(data.images))]
    alike = np.flatnonzero((data.labels[:, 1:] == anchor[1:]).all(axis=1))
    return rng.choice(alike, size=batch)


def _pairs(
    data: Labelled, chosen: np.ndarray, tokenizer: CLIPTokenizer, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return frames, tokens of their captions, and which match: float32 [B, 3, 64, 64], [B, 18], bool [B, B]."""
    labels = data.labels[chosen]
    texts = [word(OBJECTS[kind], COLOURS[colour], PLACES[place], rng) for kind, colour, place in labels]
    same = (labels[:, None] == labels[None]).all(axis=2)
    return pixels(data.images[chosen]), tokenize(tokenizer, texts), torch.from_numpy(same)


def _loss(model: CLIPModel, images: Tensor, tokens: Tensor, same: Tensor) -> Tensor:
    image = F.normalize(model.get_image_features(images).pooler_output, dim=1)
    scores = model.logit_scale.exp().clamp(max=100) * image @ _text_features(model, tokens).T
    wanted = same.float() / same.sum(dim=1, keepdim=True)
    return (F.cross_entropy(scores, wanted) + F.cross_entropy(scores.T, wanted)) / 2


def _text_features(model: CLIPModel, tokens: Tensor) -> Tensor:
    """Embed token ids [B, 77] of short texts, which end before `TOKENS`; later positions are ignored."""
    return F.normalize(model.get_text_features(tokens[:, :TOKENS]).pooler_output, dim=1)


def _plain(kind: str, colour: str, place: str) -> str:
    return f"{'an' if colour == 'orange' else 'a'} {colour} {kind} {place}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.pocket encoder", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--minutes", type=float, default=5.0, help="training time (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=CLIPS, help="clips to draw frames from (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
