"""Where training clips come from, and how they are cut out of the footage."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from animdiff_cli.config.schema import MAX_SEED
from animdiff_cli.core.choices import Easing, Shot

#: a third to two thirds of a width in 16 frames: 6 to 10 of 256 pixels per frame, well above what a still scene does
DEFAULT_SPEED = (0.3, 0.6)

_RANGE = re.compile(r"\s*([\d.]+?)\s*(?:(?:-|,|\.\.)\s*([\d.]+))?\s*")


def _speed_range(value: object) -> object:
    """Take `0.5` for a single speed and `0.3-0.6` for a range, as a shell or a YAML file gives them."""
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
    """One data set: frozen, and together with the footage enough to cut the same clips again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    videos: Path = Field(
        description="Folder of videos, one video, a CSV or JSONL list, or shards as `{0000..0009}.tar`."
    )
    video_folder: Path | None = Field(None, description="Where the files of a list are; beside the list if not given.")
    caption: str | None = Field(None, description="What videos without a caption of their own show.")
    num_frames: int = Field(16, ge=1, le=4096, description="Frames in a clip.")
    stride: int = Field(4, ge=1, le=1000, description="Every how many frames of the footage one is taken.")
    size: int = Field(
        256, ge=16, le=4096, multiple_of=8, description="Shorter side of a clip in pixels; on SDXL 512 unless said."
    )
    square: bool = Field(False, description="Crop to squares instead of the aspect bucket nearest to the footage.")
    fps: float | None = Field(None, gt=0, le=1000, description="Frames per second before `stride`; its own if null.")
    avoid_cuts: bool = Field(True, description="Take no clip across a cut between two scenes.")
    shot: Shot | None = Field(None, description="Camera move to make from the footage, which may then be stills.")
    shot_speed: Annotated[tuple[Speed, Speed], BeforeValidator(_speed_range)] = Field(
        DEFAULT_SPEED, description="How far the camera moves in a clip, drawn from this range, as in `0.3-0.6`."
    )
    shot_easing: Easing = Field("linear", description="One speed throughout, or starting and ending at rest.")
    horizontal_flip: bool = Field(False, description="Mirror half of the clips; a made shot keeps its direction.")
    seed: int = Field(0, ge=0, le=MAX_SEED, description="Decides which clips are drawn; any unsigned 64-bit integer.")
    limit: int | None = Field(None, ge=1, description="Use only the first so many videos.")

    @model_validator(mode="after")
    def _shots_go_together(self) -> Self:
        if self.shot and self.num_frames < 2:
            raise ValueError("`shot` is a move, so it needs `num_frames` of at least 2")
        if self.shot_speed[0] > self.shot_speed[1]:
            raise ValueError("`shot_speed` goes from the slower to the faster, as in `0.3-0.6`")
        if self.shot is None and (self.shot_speed != DEFAULT_SPEED or self.shot_easing != "linear"):
            raise ValueError("`shot_speed` and `shot_easing` have no effect without `shot`")
        return self
