"""A rendered clip and its recipe."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animdiff_cli.core.formats import Format, format_of
from animdiff_cli.jobs.recipe import Recipe
from animdiff_cli.outputs import write_clip


@dataclass(frozen=True, slots=True)
class Clip:
    """A rendered clip: `frames` are uint8 `[F, H, W, 3]`, `recipe` is what renders them again.

    The recipe has the resolved settings, the sha256 of every weight file and the versions of packages.
    """

    frames: NDArray[np.uint8]
    recipe: Recipe

    def save(self, path: str | Path, format: Format | None = None, *, overwrite: bool = False) -> Path:
        """Write the clip and return the path. The suffix decides the format unless `format` is given.

        Unless `overwrite`, `-2`, `-3` … is added to a name that exists. Raises `UsageError` for an unknown suffix.
        """
        path, fps = Path(path), self.recipe["config"]["fps"]
        return write_clip(self.frames, fps, path, format or format_of(path), self.recipe, overwrite=overwrite)
