"""Latents and token ids of the training clips, on the training device."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTokenizer

from tools.pocket.data import Chunk

ENCODE_BATCH = 64  # frames


@dataclass(frozen=True, slots=True)
class Clips:
    """The training set. Latents are scaled as for the UNet."""

    latents: Tensor  # float16 [N, F, 4, h, w]
    tokens: Tensor  # int64 [N, 8, 77], eight captions of each clip
    no_words: Tensor  # int64 [77], the empty prompt

    def to(self, device: torch.device) -> "Clips":
        """Return the clips on `device`."""
        return Clips(self.latents.to(device), self.tokens.to(device), self.no_words.to(device))

    def draw_words(self, clip: Tensor, drop: float, generator: torch.Generator) -> Tensor:
        """Sample a caption for each clip index in `clip` [B], or the empty one with probability `drop`: ids [B, 77]."""
        device = self.tokens.device
        wording = torch.randint(self.tokens.shape[1], clip.shape, generator=generator, device=device)
        dropped = torch.rand(clip.shape, generator=generator, device=device) < drop
        return torch.where(dropped[:, None], self.no_words, self.tokens[clip, wording])


def to_pixels(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """Map uint8 [B, H, W, 3] to [B, 3, H, W] in [-1, 1], channels last in memory."""
    return frames.permute(0, 3, 1, 2).to(dtype) / 127.5 - 1


def prepare_clips(chunks: Sequence[Chunk], vae: AutoencoderKL, tokenizer: CLIPTokenizer, file: Path) -> Clips:
    """Encode all chunks, or read them from `file` if it has the same number of chunks."""
    if file.exists():
        saved = torch.load(file, weights_only=True)
        if saved["chunks"] == len(chunks):
            return Clips(saved["latents"], saved["tokens"], saved["no_words"])
    latents = torch.cat([encode_chunk(vae, chunk) for chunk in chunks])
    wordings = [wording for chunk in chunks for clip in chunk.captions() for wording in clip]
    clips = Clips(latents, tokenize(tokenizer, wordings).view(len(latents), -1, 77), tokenize(tokenizer, [""])[0])
    partial = file.with_suffix(".part")
    contents = {"chunks": len(chunks), "latents": clips.latents, "tokens": clips.tokens, "no_words": clips.no_words}
    torch.save(contents, partial)
    partial.replace(file)
    return clips


@torch.no_grad()
def encode_chunk(vae: AutoencoderKL, chunk: Chunk) -> Tensor:
    """Encode a chunk's frames: scaled posterior means, float16 [N, F, 4, h, w] on the CPU."""
    frames = torch.from_numpy(chunk.frames().copy())
    flat = frames.flatten(0, 1)
    parts = [
        vae.encode(to_pixels(part.to(vae.device), vae.dtype)).latent_dist.mean.float() * vae.config.scaling_factor
        for part in flat.split(ENCODE_BATCH)
    ]
    return torch.cat(parts).half().cpu().unflatten(0, frames.shape[:2])


def tokenize(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Tokenize to ids [N, 77], padded and truncated. Tokenizes equal texts once: there are few distinct captions."""
    distinct = sorted(set(texts))
    padded = tokenizer(distinct, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
    row = {text: index for index, text in enumerate(distinct)}
    return padded.input_ids[torch.tensor([row[text] for text in texts])]
