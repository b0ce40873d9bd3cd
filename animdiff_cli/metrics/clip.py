"""The paper's Table 1 measures, with any CLIP: text, domain and smooth.

All are cosines of CLIP's joint embeddings, -1 to 1. Text and smooth follow Tune-a-Video (Wu et al. 2023), which the
paper cites for them; domain compares with stills of the same personalised image model (AnimateDiff, section 5.2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F

from animdiff_cli.diffusion.build import silence_libraries
from animdiff_cli.diffusion.source import read_config
from animdiff_cli.diffusion.text import MAX_TOKENS, Report, check_tokenizer, report_truncation
from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.metrics.temporal import Frames
from animdiff_cli.weights.folders import weight_files

BATCH = 32
#: CLIP's own means and deviations of red, green and blue (Radford et al. 2021)
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HINT = "use a CLIPModel folder of transformers: `--clip clip-vit-l14`, after `animdiff fetch clip-vit-l14`"


@dataclass(frozen=True, slots=True)
class Preparation:
    """How pictures become CLIP's input: shorter side resized (bicubic), middle cut out, colours normalised."""

    side: int
    mean: tuple[float, ...] = MEAN
    deviation: tuple[float, ...] = DEVIATION

    def __call__(self, frame: Frames) -> Tensor:
        """Prepare one frame, uint8 [H, W, 3]: float32 [3, side, side]."""
        picture = Image.fromarray(frame)
        width, height = picture.size
        # as transformers does: the longer side is rounded down, an odd margin is one pixel wider at the end
        scaled = tuple(self.side * length // min(width, height) for length in (width, height))
        picture = picture.resize((scaled[0], scaled[1]), Image.Resampling.BICUBIC)
        left, top = ((length - self.side) // 2 for length in picture.size)
        picture = picture.crop((left, top, left + self.side, top + self.side))
        colours = np.asarray(picture, dtype=np.float32) / 255
        normalised = (colours - np.array(self.mean, np.float32)) / np.array(self.deviation, np.float32)
        return torch.from_numpy(normalised).permute(2, 0, 1)


@dataclass(frozen=True, slots=True)
class ClipEncoder:
    """CLIP with its tokenizer. Embeddings come out with length 1."""

    model: Any
    tokenizer: Any
    prepare: Preparation

    @torch.inference_mode()
    def images(self, frames: Frames) -> Tensor:
        """Embed frames, uint8 [F, H, W, 3]: float32 [F, D] on the CPU."""
        parts = [
            self.model.get_image_features(
                torch.stack([self.prepare(frame) for frame in frames[start : start + BATCH]]).to(self.model.device)
            ).pooler_output
            for start in range(0, len(frames), BATCH)
        ]
        return F.normalize(torch.cat(parts).float().cpu(), dim=1)

    @torch.inference_mode()
    def text(self, prompt: str, report: Report = lambda message: None) -> Tensor:
        """Embed a prompt: float32 [D] on the CPU. Tokens beyond 75 are cut, which `report` is told."""
        report_truncation(self.tokenizer, prompt, report)
        tokens = self.tokenizer(
            prompt, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
        ).to(self.model.device)
        features = self.model.get_text_features(tokens.input_ids, attention_mask=tokens.attention_mask)
        return F.normalize(features.pooler_output.float().cpu(), dim=1)[0]


def text_alignment(frames: Tensor, prompt: Tensor) -> float:
    """Mean cosine of every frame [F, D] with the prompt [D]."""
    return float((frames @ prompt).mean())


def domain_similarity(frames: Tensor, references: Tensor) -> float:
    """Mean cosine of every frame [F, D] with every reference still [N, D]."""
    return float((frames @ references.T).mean())


def consistency(frames: Tensor) -> float | None:
    """Mean cosine of all pairs of different frames [F, D], Tune-a-Video's frame consistency; None for one frame."""
    if len(frames) < 2:
        return None
    return float((frames @ frames.T)[~torch.eye(len(frames), dtype=torch.bool)].mean())


def neighbour_consistency(frames: Tensor) -> float | None:
    """Mean cosine of neighbouring frames [F, D], the other usual reading of smoothness; None for one frame."""
    if len(frames) < 2:
        return None
    return float((frames[:-1] * frames[1:]).sum(dim=1).mean())


def check_encoder(folder: Path) -> None:
    """Raise `UsageError` for what is no CLIP, `IntegrityError` for one that lacks files. Loads no weights."""
    if not folder.is_dir() or not (folder / "config.json").is_file():
        raise UsageError(f"{folder} is no CLIP encoder: it has no config.json", hint=HINT)
    kind = read_config(folder / "config.json").get("model_type")
    if kind != "clip":
        raise UsageError(f"{folder} is a `{kind}`, not a CLIP encoder of words and pictures", hint=HINT)
    if not weight_files(folder):
        raise IntegrityError(f"{folder} holds no weights", hint="the folder needs model.safetensors")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise IntegrityError(f"{folder} holds no tokenizer", hint="the folder needs vocab.json and merges.txt")


def load_encoder(folder: Path, device: torch.device) -> ClipEncoder:
    """Load a CLIPModel folder in float32. No network is used. Raises as `check_encoder`."""
    from transformers import CLIPModel, CLIPTokenizer

    check_encoder(folder)
    with silence_libraries():
        try:
            loaded: Any = CLIPModel.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise IntegrityError(
                f"{folder} does not load: {str(error).splitlines()[0]}", hint="get the encoder again"
            ) from error
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    model, report = loaded
    _refuse_missing(report["missing_keys"], folder)
    check_tokenizer(tokenizer, model.text_model)
    side = model.config.vision_config.image_size
    return ClipEncoder(model.to(device).eval().requires_grad_(False), tokenizer, _preparation(folder, side))


def _refuse_missing(missing: Sequence[str], folder: Path) -> None:
    """Refuse half an encoder: transformers fills what a file lacks with random numbers."""
    lacking = sorted(missing)
    if lacking:
        raise IntegrityError(
            f"{folder} lacks {len(lacking)} weights of its own config, first `{lacking[0]}`",
            hint="get the encoder again",
        )


def _preparation(folder: Path, side: int) -> Preparation:
    """Read the normalisation the encoder was trained with; CLIP's own where nothing is said."""
    path = folder / "preprocessor_config.json"
    told: Mapping[str, Any] = read_config(path) if path.is_file() else {}
    try:
        (*mean,), (*deviation,) = told.get("image_mean", MEAN), told.get("image_std", DEVIATION)
        return Preparation(side, tuple(map(float, mean)), tuple(map(float, deviation)))
    except (TypeError, ValueError) as error:
        raise IntegrityError(f"{path}: `image_mean` or `image_std` is no colour", hint="get the file again") from error
