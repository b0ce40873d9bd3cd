"""Cache of text embeddings on disk, so that the text encoders can leave memory during training.

The name of an entry is a digest of the caption and of the text encoders' weights.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from animdiff_cli.diffusion.build import Components
from animdiff_cli.diffusion.text import encode_caption
from animdiff_cli.diffusion.text_encoders import PromptEmbeds, Report, ignore_report
from animdiff_cli.files.os_errors import readable_output_failures
from animdiff_cli.training.data.latents import sha256_of_module, sha256_of_values
from animdiff_cli.weights.files import read_tensors, write_tensors

#: increment when the same inputs would be encoded differently
VERSION = 1


@dataclass(frozen=True, slots=True)
class TextCache:
    """Text embeddings of one image model. The caption None is the unconditional text of a dropped caption."""

    folder: Path
    encoder_digest: str

    @classmethod
    def of(cls, folder: Path, components: Components) -> "TextCache":
        """Open the cache for these text encoders."""
        digest = sha256_of_module(components.text_encoder)
        if components.is_sdxl:
            second = sha256_of_module(components.text_encoder_2)
            digest = sha256_of_values(digest, second, components.zeros_for_empty)
        return cls(folder, digest)

    def fill(self, captions: Iterable[str | None], components: Components, report: Report = ignore_report) -> None:
        """Encode every missing caption. Passes each message about truncated text to `report`, once."""
        with readable_output_failures(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        for caption in dict.fromkeys(captions):
            if not self._path(caption).is_file():
                messages: set[str] = set()  # both tokenizers of SDXL report the same
                text = encode_caption(components, caption, messages.add)
                for message in sorted(messages):
                    report(message)
                tensors = {"text": text.embeds} | ({} if text.pooled is None else {"pooled": text.pooled})
                entry = {name: tensor[0].cpu().contiguous() for name, tensor in tensors.items()}
                write_tensors(entry, self._path(caption), {})

    def read(self, caption: str | None) -> PromptEmbeds:
        """Read one entry: embeds `[1, 77, D]` and, for SDXL, pooled `[1, P]`."""
        tensors = read_tensors(self._path(caption))
        return PromptEmbeds(tensors["text"][None], tensors["pooled"][None] if "pooled" in tensors else None)

    def _path(self, caption: str | None) -> Path:
        return self.folder / f"{sha256_of_values(VERSION, caption, self.encoder_digest)}.safetensors"
