"""A rendered clip and its recipe."""

import tempfile
import textwrap
from base64 import b64encode
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animdiff_cli.core.formats import Format, format_of
from animdiff_cli.jobs.recipe import Recipe
from animdiff_cli.outputs import write_clip


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Clip:
    """A rendered clip: `frames` are uint8 `[F, H, W, 3]`, `recipe` is what renders them again.

    The recipe has the resolved settings, the sha256 of every weight file and the versions of packages. As the last
    value of a notebook cell, a clip plays.
    """

    frames: NDArray[np.uint8]
    recipe: Recipe

    def save(self, path: str | Path, format: Format | None = None, *, overwrite: bool = False) -> Path:
        """Write the clip and return the path. The suffix decides the format unless `format` is given.

        Unless `overwrite`, `-2`, `-3` … is added to a name that exists. Raises `UsageError` for an unknown suffix.
        """
        path, fps = Path(path), self.recipe["config"]["fps"]
        return write_clip(self.frames, fps, path, format or format_of(path), self.recipe, overwrite=overwrite)

    def __repr__(self) -> str:
        """Return one line: frames, size, rate, seed and prompt."""
        count, height, width, _ = self.frames.shape
        config = self.recipe["config"]
        prompt = textwrap.shorten(config["prompt"], 60, placeholder="…")
        return f"<Clip {count} frames, {width}×{height}, {config['fps']:g} fps, seed {config['seed']}: {prompt!r}>"

    def _repr_html_(self) -> str:
        """Return the clip for a notebook: an animated WebP inside an `<img>`. The WebP contains the recipe."""
        _, height, width, _ = self.frames.shape
        with tempfile.TemporaryDirectory(prefix="animdiff-") as folder:
            data = b64encode(self.save(Path(folder) / "clip.webp").read_bytes()).decode("ascii")
        prompt = escape(self.recipe["config"]["prompt"])
        return (
            f'<img src="data:image/webp;base64,{data}" width="{width}" height="{height}"'
            f' alt="{prompt}" title="{prompt}">'
        )
