"""The settings that name pictures and videos a render reads: one table, which checks, recipes and outputs read.

Weights are in `weight_settings`; a setting with both, such as a ControlNet and its video, is in both tables.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError

from animdiff_cli.config.settings import TextRecord, WithRecord, stored_form
from animdiff_cli.config.varying import Varying
from animdiff_cli.core.choices import AfterEnd, Fit, Preprocessor
from animdiff_cli.core.curves import Curve, TextTrack
from animdiff_cli.core.prompt_travel import MAX_PROMPT
from animdiff_cli.core.refs import names_file_at, scale_text, split_scale
from animdiff_cli.core.validation_words import in_own_words
from animdiff_cli.core.where import POSITION, parse_positions, parse_range
from animdiff_cli.errors import UsageError

MAX_PATH = 4096  # characters


def _joined(value: object) -> object:
    """Join a list of positions, or turn one number into text: `[0, -1]` is `0,-1`."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _positions(text: str) -> str:
    parse_positions(text)
    return text


def _section(text: str) -> str:
    parse_range(text)
    return text


#: positions in the clip, as in `0,50%,-1`
Positions = Annotated[str, BeforeValidator(_joined), AfterValidator(_positions)]
#: a part of a video, as in `2s-6s`; one position begins it
Section = Annotated[str, BeforeValidator(_joined), AfterValidator(_section)]


class InputEntry(TextRecord):
    """A picture, a video or a folder of frames, and how it becomes frames of the clip. As text the path alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    example: ClassVar[str] = "clip.mp4"

    source: str = Field(
        min_length=1, max_length=MAX_PATH, description="`source` is a picture, a video or a folder of frames."
    )
    section: Section | None = Field(None, description="Part of the source to use, as in `2s-6s` or `10-40`.")
    frames: Positions | None = Field(None, description="Frames of the clip that the source is for, as in `0,50%,-1`.")
    fit: Fit = Field("crop", description="How another shape is fitted: `crop`, `pad` with black, or `stretch`.")
    after_end: AfterEnd = Field(
        "hold",
        description="What follows a video that ends before the clip: its last frame, the video again, or no clip.",
    )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form. Raises `UsageError`."""
        return cls._of(text, source=text)

    @classmethod
    def _of(cls, text: str, **fields: object) -> Self:
        """Check the fields that text holds. Raises `UsageError`."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"][:1]))
            example = f"{cls.example}@0.8" if name == "scale" else cls.example
            message = f"`{text}`: `{name}` {in_own_words(first['msg'])}"
            raise UsageError(message, hint=f"write it as in `{example}`") from error

    def text(self) -> str:
        """Return the text form, which leaves out what text cannot hold."""
        return self.source

    def stored(self) -> object:
        """Return the text form if `parse` reads it as the same entry, else the fields that are set."""
        with suppress(UsageError, ValueError):
            if type(self).parse(self.text()) == self:
                return self.text()
        return self.model_dump(mode="json", exclude_defaults=True)


class SteeredEntry(InputEntry):
    """A network and the pictures that it reads. As text `REF=SOURCE` or `REF=SOURCE@SCALE`."""

    network: ClassVar[str] = "a network"

    example: ClassVar[str] = "controlnet-canny=dance.mp4"

    ref: str = Field(min_length=1, description="`ref` names the network: an alias, a file or an address.")
    scale: Annotated[float | Curve, Varying(Annotated[float, Field(ge=-10, le=10)])] = Field(
        1.0, description="How strongly the pictures count."
    )
    start: float = Field(0.0, ge=0, lt=1, description="Share of the steps after which it begins.")
    end: float = Field(1.0, gt=0, le=1, description="Share of the steps after which it ends.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `REF=SOURCE` or `REF=SOURCE@SCALE`. Raises `UsageError`.

        >>> ControlEntry.parse("controlnet-canny=dance.mp4@0.8").scale
        0.8
        """
        is_url = text.lower().startswith(("https:", "http:"))  # which may have `=` itself
        ref, equals, source = text.rpartition("=") if is_url else text.partition("=")
        if not equals or not ref.strip() or not source.strip():
            raise UsageError(
                f"`{text}` does not name {cls.network} and its pictures",
                hint=f"write it as in `{cls.example}` or `{cls.example}@0.8`",
            )
        source, scale = split_scale(source.strip())
        return cls._of(text, ref=ref.strip(), source=source, **({} if scale is None else {"scale": scale}))

    def text(self) -> str:
        """Return the text form, which leaves out what text cannot hold."""
        scale = "" if self.scale == 1 else f"@{scale_text(self.scale)}"
        return f"{self.ref}={self.source}{scale}"


class ControlEntry(SteeredEntry):
    """A ControlNet or SparseCtrl and the pictures it follows: `{ref: controlnet-canny, source: dance.mp4, scale: 0.8}`.

    As text `controlnet-canny=dance.mp4@0.8`.
    """

    network: ClassVar[str] = "a control"
    example: ClassVar[str] = "controlnet-canny=dance.mp4"

    preprocess: Preprocessor | None = Field(
        None, description="What makes a control picture of a frame; null is the setting `preprocess`."
    )
    guess_mode: bool = Field(
        False, description="Leave the row without text free, and follow the pictures without a prompt."
    )


class ImagePromptEntry(SteeredEntry):
    """An IP-Adapter and the pictures that it reads as a prompt: `{ref: ip-adapter, source: fox.png, scale: 0.6}`.

    As text `ip-adapter=fox.png@0.6`. Between the frames of two pictures it reads a mix of both.
    """

    network: ClassVar[str] = "an image prompt"
    example: ClassVar[str] = "ip-adapter=fox.png"


class VideoEntry(InputEntry):
    """The video that a clip is rendered from: `{source: dance.mp4, section: 2s-6s, fps: 8}`, or its path as text."""

    fps: float | None = Field(
        None,
        gt=0,
        le=120,
        examples=[8],
        description="Frames to take per second of the video; null is the frame rate of the clip.",
    )


class ImageEntry(InputEntry):
    """A picture of a clip and its frame: `{source: fox.png, frames: 50%}`, or as text `fox.png@50%`."""

    example: ClassVar[str] = "fox.png@50%"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `PATH` or `PATH@WHERE`. Raises `UsageError`.

        >>> ImageEntry.parse("fox.png@50%").frames, ImageEntry.parse("me@home.png").frames
        ('50%', None)
        """
        path, at, where = text.rpartition("@")
        if at and path and re.fullmatch(POSITION, where.strip()):
            return cls._of(text, source=path, frames=where.strip())
        if at and names_file_at(text):
            what = f"`{where}` is not a position" if where else "no position follows the `@`"
            raise UsageError(f"`{text}`: {what}", hint=f"write a frame, a share or a time, as in `{path}@50%`")
        return cls._of(text, source=text)

    def text(self) -> str:
        """Return the text form, which leaves out what text cannot hold."""
        return f"{self.source}@{self.frames}" if self.frames else self.source


class MaskEntry(InputEntry):
    """Where a video is repainted: white in a picture, a video or a folder. `{source: mask.png, feather: 8}`."""

    feather: float = Field(0.0, ge=0, le=500, description="Width in pixels over which the mask's edges are blurred.")


class RegionEntry(InputEntry):
    """A part of the picture with a prompt of its own: `{source: left.png, prompt: a red rocket, feather: 16}`.

    As text `left.png=a red rocket`. White in the mask is the region.
    """

    example: ClassVar[str] = "left.png=a red rocket"

    prompt: Annotated[str | TextTrack, Varying(Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)])] = Field(
        description="Text prompt of the region."
    )
    weight: Annotated[float | Curve, Varying(Annotated[float, Field(ge=0, le=10)])] = Field(
        1.0, description="How much its prompt counts: 0.5 shares the region with the prompt of the clip."
    )
    feather: float = Field(0.0, ge=0, le=500, description="Width in pixels over which the mask's edges are blurred.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `MASK=PROMPT`. Raises `UsageError`.

        >>> RegionEntry.parse("left.png=a red rocket").prompt
        'a red rocket'
        """
        is_url = text.lower().startswith(("https:", "http:"))  # which may have `=` itself
        source, _, prompt = text.rpartition("=") if is_url else text.partition("=")
        if not source.strip() or not prompt.strip():
            raise UsageError(f"`{text}` does not name a mask and its prompt", hint=f'write it as in `"{cls.example}"`')
        return cls._of(text, source=source.strip(), prompt=prompt.strip())

    def text(self) -> str:
        """Return the text form, which leaves out what text cannot hold."""
        return f"{self.source}={self.prompt}"


@dataclass(frozen=True, slots=True)
class InputSetting:
    """One setting that names inputs. `key` is the field of `GenerateConfig` and the part of a recipe's `inputs`."""

    key: str
    flag: str
    noun: str  # in the summary of a render
    is_list: bool = False
    record: type[InputEntry] = InputEntry  # of one entry


#: in the order of a recipe
INPUT_SETTINGS: Mapping[str, InputSetting] = MappingProxyType(
    {
        setting.key: setting
        for setting in (
            InputSetting("continue_from", "--continue-from", "continues"),
            InputSetting("controls", "--control", "control", is_list=True, record=ControlEntry),
            InputSetting("image_prompts", "--image-prompt", "image prompt", is_list=True, record=ImagePromptEntry),
            InputSetting("video", "--video", "video", record=VideoEntry),
            InputSetting("mask", "--mask", "mask", record=MaskEntry),
            InputSetting("regions", "--region", "region", is_list=True, record=RegionEntry),
            InputSetting("images", "--image", "picture", is_list=True, record=ImageEntry),
        )
    }
)


def entries_of(setting: InputSetting, value: object) -> list[InputEntry]:
    """Read the entries in the value of a setting."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return [setting.record.read(entry) for entry in values if entry]


def with_sources(setting: InputSetting, value: object, change: Callable[[str], str]) -> object:
    """Return the value of a setting with another path in each entry, as a recipe holds it."""
    changed = [
        entry.model_copy(update={"source": change(entry.source)}).stored() for entry in entries_of(setting, value)
    ]
    return changed if setting.is_list else next(iter(changed), None)


#: text PATH, or a record of the fields of `VideoEntry`
VideoSource = Annotated[str | dict[str, Any], stored_form(VideoEntry), WithRecord(VideoEntry)]
#: text PATH, or a record of the fields of `MaskEntry`
MaskSource = Annotated[str | dict[str, Any], stored_form(MaskEntry), WithRecord(MaskEntry)]
#: text PATH@WHERE, or a record of the fields of `ImageEntry`
ImageSource = Annotated[str | dict[str, Any], stored_form(ImageEntry), WithRecord(ImageEntry)]
#: text MASK=PROMPT, or a record of the fields of `RegionEntry`
RegionSource = Annotated[str | dict[str, Any], stored_form(RegionEntry), WithRecord(RegionEntry)]
