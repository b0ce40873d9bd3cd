"""What a source has to offer for a reference."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from animdiff_cli.core.refs import ModelRef
from animdiff_cli.fetch.remote import Remote


@dataclass(frozen=True, slots=True)
class Offer:
    """The files behind a reference, with size and hash where the source tells them."""

    ref: ModelRef
    files: tuple[Remote, ...]
    cached: Mapping[str, Path] = field(default_factory=dict)  # name of a file → where another program keeps it
    is_folder: bool = False  # a model of several files; otherwise `files` is one
    revision: str | None = None  # commit, where the source has such a thing

    @property
    def size(self) -> int | None:
        """Bytes of all files together; None where a size is not told."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)
