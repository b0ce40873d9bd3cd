"""The data set of a training run: its videos, and how clips are sampled from them."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from animdiff_cli.config.sampling_settings import MAX_SEED
from animdiff_cli.core.choices import Easing, Shot

#: 0.3 to 0.6 of the width in 16 frames: 6 to 10 of 256 pixels per frame, well above the motion of a still scene
DEFAULT_SPEED = (0.3, 0.6)

_RANGE = re.compile(r"\s*([\d.]+?)\s*(?:(?:-|,|\.\.)\s*([\d.]+))?\s*")


def _speed_range(value: object) -> object:
    """Read `0.5` as a single speed and `0.3-0.6` as a range, from a shell or a YAML file."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        if not (ends := _RANGE.fullmatch(value)):
            raise ValueError("must be a number or a range, as in `0.5` or `0.3-0.6`")
        return (ends[1], ends[2] or ends[1])
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (value, value)
    return value


Speed = Annotated[float, Field(gt=0, le=2)]


class DataConfig(BaseModel):
    """One data set. Frozen; with the videos, enough to sample the same clips again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    videos: Path = Field(
        description="Folder of videos, one video, a CSV or JSONL list, or shards as `{0000..0009}.tar`."
    )
    video_folder: Path | None = Field(None, description="Folder of the files in a list; null is that of the list.")
    caption: str | None = Field(None, description="Caption of videos without one.")
    num_frames: int = Field(16, ge=1, le=4096, description="Frames per clip.")
    stride: int = Field(4, ge=1, le=1000, description="Use every Nth frame.")
    size: int = Field(
        256, ge=16, le=4096, multiple_of=8, description="Shorter side of a clip in pixels; the default is 512 on SDXL."
    )
    square: bool = Field(False, description="Crop to squares instead of the nearest aspect bucket.")
    fps: float | None = Field(
        None, gt=0, le=1000, examples=[8], description="Frame rate before `stride`; null is that of the video."
    )
    avoid_cuts: bool = Field(True, description="Sample no clip across a scene cut.")
    shot: Shot | None = Field(None, description="Camera move to synthesize from the videos or images.")
    shot_speed: Annotated[tuple[Speed, Speed], BeforeValidator(_speed_range)] = Field(
        DEFAULT_SPEED, description="Range of the distance the camera moves in a clip, as in `0.3-0.6`."
    )
    shot_easing: Easing = Field("linear", description="`linear`: constant speed. `smooth`: start and end at rest.")
    horizontal_flip: bool = Field(False, description="Mirror half of the clips; a camera move keeps its direction.")
    seed: int = Field(0, ge=0, le=MAX_SEED, description="Seed of the sampled clips; any unsigned 64-bit integer.")
    limit: int | None = Field(None, ge=1, description="Use only the first N videos.")

    @model_validator(mode="after")
    def _shots_go_together(self) -> Self:
        if self.shot and self.num_frames < 2:
            raise ValueError("`shot` needs `num_frames` of at least 2")
        if self.shot_speed[0] > self.shot_speed[1]:
            raise ValueError("`shot_speed` must start with the lower speed, as in `0.3-0.6`")
        if self.shot is None and (self.shot_speed != DEFAULT_SPEED or self.shot_easing != "linear"):
            raise ValueError("`shot_speed` and `shot_easing` have no effect without `shot`")
        return self
