"""A rendered clip and its recipe."""

import tempfile
import textwrap
from base64 import b64encode
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animdiff_cli.core.formats import Format, format_of
from animdiff_cli.core.prompt_travel import describe_prompt
from animdiff_cli.core.text import counted
from animdiff_cli.jobs.recipe import Recipe
from animdiff_cli.outputs import store_clip
from animdiff_cli.outputs.audio import AudioTrack
from animdiff_cli.outputs.spool import FrameSequence
from animdiff_cli.storage.location import Location, location


@dataclass(frozen=True, eq=False, repr=False)
class Clip:
    """A rendered clip: `frames` are uint8 `[F, H, W, 3]`, `recipe` is what renders them again.

    A long clip waits in a temporary file: `save` reads it frame by frame, and so can you, from `source`. The recipe has
    the resolved settings, the sha256 of every weight file and the versions of packages. As the last value of a notebook
    cell, a clip plays.
    """

    source: FrameSequence
    recipe: Recipe
    audio: AudioTrack | None = None  # of a video that was rendered anew; MP4 and WebM have it

    @cached_property
    def frames(self) -> NDArray[np.uint8]:
        """The frames in memory, uint8 `[F, H, W, 3]`."""
        return np.asarray(self.source)

    def save(self, path: str | Location, format: Format | None = None, *, overwrite: bool = False) -> Location:
        """Write the clip and return the path, or the URL: `s3://bucket/fox.mp4` uploads it.

        The suffix decides the format unless `format` is given. Unless `overwrite`, `-2`, `-3` … is added to a name that
        exists. Raises `UsageError` for an unknown suffix, `NetworkError` if the upload fails.
        """
        place, fps = location(path), self.recipe["config"]["fps"]
        format = format or format_of(place)
        return store_clip(self.source, fps, place, format, self.recipe, overwrite=overwrite, audio=self.audio)

    def __repr__(self) -> str:
        """Return one line: frames, size, rate, seed and prompt."""
        count, height, width, _ = self.source.shape
        config = self.recipe["config"]
        prompt = textwrap.shorten(describe_prompt(config["prompt"]), 60, placeholder="…")
        size = f"{counted(count, 'frame')}, {width}×{height}"
        return f"<Clip {size}, {config['fps']:g} fps, seed {config['seed']}: {prompt!r}>"

    def _repr_html_(self) -> str:
        """Return the clip for a notebook: an animated WebP inside an `<img>`. The WebP contains the recipe."""
        _, height, width, _ = self.source.shape
        with tempfile.TemporaryDirectory(prefix="animdiff-") as folder:
            path = Path(folder) / "clip.webp"
            self.save(path)
            data = b64encode(path.read_bytes()).decode("ascii")
        prompt = escape(describe_prompt(self.recipe["config"]["prompt"]))
        return (
            f'<img src="data:image/webp;base64,{data}" width="{width}" height="{height}"'
            f' alt="{prompt}" title="{prompt}">'
        )
