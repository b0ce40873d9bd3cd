"""CLIP metrics of the paper's Table 1: text alignment, domain similarity and motion smoothness.

All are cosines of CLIP's joint embeddings, -1 to 1. Text and smooth follow Tune-a-Video (Wu et al. 2023), which the
paper cites; domain compares with images of the same personalised image model (AnimateDiff, section 5.2).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F

from animdiff_cli.core.text import counted
from animdiff_cli.diffusion.build import silence_libraries
from animdiff_cli.diffusion.image_prompt import MEAN, STD
from animdiff_cli.diffusion.source import read_config
from animdiff_cli.diffusion.text_encoders import MAX_TOKENS, Report, check_tokenizer, report_truncation
from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.outputs.ffmpeg import Frames
from animdiff_cli.weights.folders import weight_files

BATCH = 32
HINT = "run `animdiff fetch clip-vit-l14` and use `--clip clip-vit-l14`, or a CLIPModel folder of transformers"


@dataclass(frozen=True, slots=True)
class ImageProcessor:
    """CLIP's image preprocessing: resize the shorter side (bicubic), crop the centre, normalize."""

    side: int
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD

    def __call__(self, frame: Frames) -> Tensor:
        """Preprocess one frame, uint8 [H, W, 3], to float32 [3, side, side]."""
        image = Image.fromarray(frame)
        width, height = image.size
        # like transformers: round the longer side down; an odd margin is one pixel wider at the end
        scaled = tuple(self.side * length // min(width, height) for length in (width, height))
        image = image.resize((scaled[0], scaled[1]), Image.Resampling.BICUBIC)
        left, top = ((length - self.side) // 2 for length in image.size)
        image = image.crop((left, top, left + self.side, top + self.side))
        values = np.asarray(image, dtype=np.float32) / 255
        normalized = (values - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return torch.from_numpy(normalized).permute(2, 0, 1)


@dataclass(frozen=True, slots=True)
class ClipEncoder:
    """CLIP with its tokenizer and image processor. Returns embeddings of length 1."""

    model: Any
    tokenizer: Any
    processor: ImageProcessor

    @torch.inference_mode()
    def embed_images(self, frames: Frames) -> Tensor:
        """Embed frames, uint8 [F, H, W, 3], to float32 [F, D] on the CPU."""
        parts = [
            self.model.get_image_features(
                torch.stack([self.processor(frame) for frame in frames[start : start + BATCH]]).to(self.model.device)
            ).pooler_output
            for start in range(0, len(frames), BATCH)
        ]
        return F.normalize(torch.cat(parts).float().cpu(), dim=1)

    @torch.inference_mode()
    def embed_text(self, prompt: str, report: Report = lambda message: None) -> Tensor:
        """Embed a prompt to float32 [D] on the CPU. Text after 75 tokens is cut and reported to `report`."""
        report_truncation(self.tokenizer, prompt, report)
        tokens = self.tokenizer(
            prompt, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
        ).to(self.model.device)
        features = self.model.get_text_features(tokens.input_ids, attention_mask=tokens.attention_mask)
        return F.normalize(features.pooler_output.float().cpu(), dim=1)[0]


def text_alignment(frames: Tensor, prompt: Tensor) -> float:
    """Return the mean cosine of the frames [F, D] with the prompt [D]."""
    return float((frames @ prompt).mean())


def domain_similarity(frames: Tensor, references: Tensor) -> float:
    """Return the mean cosine of all frames [F, D] with all reference images [N, D]."""
    return float((frames @ references.T).mean())


def frame_consistency(frames: Tensor) -> float | None:
    """Return the mean cosine over all pairs of frames [F, D]: Tune-a-Video's frame consistency. None for one frame."""
    if len(frames) < 2:
        return None
    return float((frames @ frames.T)[~torch.eye(len(frames), dtype=torch.bool)].mean())


def neighbour_consistency(frames: Tensor) -> float | None:
    """Return the mean cosine of consecutive frames [F, D], the other common definition. None for one frame."""
    if len(frames) < 2:
        return None
    return float((frames[:-1] * frames[1:]).sum(dim=1).mean())


def check_encoder(folder: Path) -> None:
    """Raise `UsageError` if a folder is not a CLIP model, `IntegrityError` if files are missing. Loads no weights."""
    if not folder.is_dir() or not (folder / "config.json").is_file():
        raise UsageError(f"{folder} is not a CLIP encoder: config.json is missing", hint=HINT)
    kind = read_config(folder / "config.json").get("model_type")
    if kind != "clip":
        raise UsageError(f"{folder} is a `{kind}` model, not a CLIP encoder", hint=HINT)
    if not weight_files(folder):
        raise IntegrityError(f"{folder} contains no weights", hint="the folder needs model.safetensors")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise IntegrityError(f"{folder} contains no tokenizer", hint="the folder needs vocab.json and merges.txt")


def load_encoder(folder: Path, device: torch.device) -> ClipEncoder:
    """Load a CLIPModel folder in float32, without network access. Raises the errors of `check_encoder`."""
    from transformers import CLIPModel, CLIPTokenizer

    check_encoder(folder)
    with silence_libraries():
        try:
            loaded: Any = CLIPModel.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise IntegrityError(
                f"{folder} cannot be loaded: {str(error).splitlines()[0]}", hint="fetch the encoder again"
            ) from error
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    model, report = loaded
    _check_missing(report["missing_keys"], folder)
    check_tokenizer(tokenizer, model.text_model)
    side = model.config.vision_config.image_size
    return ClipEncoder(model.to(device).eval().requires_grad_(False), tokenizer, _image_processor(folder, side))


def _check_missing(missing: Iterable[str], folder: Path) -> None:
    """Raise `IntegrityError` for missing weights, which transformers would initialize with random values."""
    keys = sorted(missing)
    if keys:
        raise IntegrityError(
            f"{folder} lacks {counted(len(keys), 'weight')} that its config requires, first `{keys[0]}`",
            hint="fetch the encoder again",
        )


def _image_processor(folder: Path, side: int) -> ImageProcessor:
    """Read the normalization from `preprocessor_config.json`. Default: the values of CLIP."""
    path = folder / "preprocessor_config.json"
    config: Mapping[str, Any] = read_config(path) if path.is_file() else {}
    try:
        (*mean,), (*std,) = config.get("image_mean", MEAN), config.get("image_std", STD)
        return ImageProcessor(side, tuple(map(float, mean)), tuple(map(float, std)))
    except (TypeError, ValueError) as error:
        raise IntegrityError(
            f"{path}: `image_mean` or `image_std` is not a list of numbers", hint="fetch the file again"
        ) from error
