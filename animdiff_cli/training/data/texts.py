"""Text embeddings, computed once and kept on disk, so that the text encoders leave memory.

An entry is named by a digest of the caption and of the weights of the encoders that read it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from animdiff_cli.diffusion.build import Components
from animdiff_cli.diffusion.sdxl import encode_both
from animdiff_cli.diffusion.text import Text, encode_prompt
from animdiff_cli.training.data.latents import digest_of, digest_of_module
from animdiff_cli.weights.files import read_tensors, write_tensors

#: raised whenever the same inputs would be encoded differently
VERSION = 1


@dataclass(frozen=True, slots=True)
class TextCache:
    """Texts by one image model. None stands for no text at all: what a dropped caption leaves to read."""

    folder: Path
    encoder_digest: str

    @classmethod
    def of(cls, folder: Path, parts: Components) -> "TextCache":
        """Open the texts that these encoders read."""
        digest = digest_of_module(parts.text_encoder)
        if parts.is_sdxl:
            digest = digest_of(digest, digest_of_module(parts.text_encoder_2), parts.zeros_for_empty)
        return cls(folder, digest)

    def fill(
        self, captions: Iterable[str | None], parts: Components, report: Callable[[str], None] = lambda message: None
    ) -> None:
        """Encode every caption that is not there yet. What is cut off one is told to `report`, once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for caption in dict.fromkeys(captions):
            if not self._path(caption).is_file():
                cut: set[str] = set()  # two tokenizers say the same
                text = read_text(parts, caption, cut.add)
                for message in sorted(cut):
                    report(message)
                tensors = {"text": text.tokens} | ({} if text.pooled is None else {"pooled": text.pooled})
                kept = {name: tensor[0].cpu().contiguous() for name, tensor in tensors.items()}
                write_tensors(kept, self._path(caption), {})

    def read(self, caption: str | None) -> Text:
        """Read one text: tokens [1, 77, D] and, of SDXL, pooled [1, P]."""
        tensors = read_tensors(self._path(caption))
        return Text(tensors["text"][None], tensors["pooled"][None] if "pooled" in tensors else None)

    def _path(self, caption: str | None) -> Path:
        return self.folder / f"{digest_of(VERSION, caption, self.encoder_digest)}.safetensors"


def read_text(parts: Components, caption: str | None, report: Callable[[str], None] = lambda message: None) -> Text:
    """Encode one caption as a render does; no text at all is zeros where the image model was trained so."""
    if not parts.is_sdxl:
        return Text(encode_prompt(parts.tokenizer, parts.text_encoder, caption or "", report=report))
    text = encode_both(parts, caption or "", report=report)
    return text.zeros() if caption is None and parts.zeros_for_empty else text
