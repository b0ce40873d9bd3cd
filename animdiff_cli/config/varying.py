"""Settings that may vary over a clip: a value, or a track of values by position (`core.curves`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import CoreSchema, core_schema

from animdiff_cli.core.curves import Curve, TextTrack, Track, is_curve_text, split_curve
from animdiff_cli.errors import UsageError


@dataclass(frozen=True)
class Varying:
    """Marks a setting that holds one value, or a track of such values. `value` is the type of one, with its bounds.

    Numbers may vary over frames or steps, texts over frames. In a recipe a track is a mapping.
    """

    value: Any

    @cached_property
    def is_text(self) -> bool:
        """Whether the values are texts."""
        return self.value is str or getattr(self.value, "__origin__", None) is str

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Validate one value."""
        return TypeAdapter(self.value)

    def pairs(self, value: object) -> Mapping[str, object] | None:
        """Return the mapping form of a track, values unchecked; None for one value. Raises `UsageError`."""
        if isinstance(value, Track):
            return value.as_mapping()
        if isinstance(value, Mapping):
            pairs = {str(key): entry for key, entry in value.items()}
            if len(pairs) < len(value):
                raise UsageError("a position is given twice", hint="leave one of them out")
            return pairs
        if isinstance(value, str) and not self.is_text and is_curve_text(value):
            return split_curve(value)
        return None

    def track(self, pairs: Mapping[str, Any]) -> Track[Any]:
        """Return the track of checked values. Raises `UsageError`."""
        if self.is_text:
            track = TextTrack.of(pairs)
            if track.axis == "steps":
                raise UsageError(
                    "a text varies over frames, not over steps", hint="write frames, as in `{0: …, 50%: …}`"
                )
            return track
        return Curve.of(pairs)

    @property
    def form(self) -> str:
        """Describe in words how a track is written."""
        return "by position as in `{0: one text, 50%: another}`" if self.is_text else "a curve as in `0:1,50%:2`"

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._read,
            serialization=core_schema.plain_serializer_function_ser_schema(plain),
        )

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: Any) -> dict[str, Any]:
        value = self.adapter.json_schema()
        track = {"type": "object", "additionalProperties": value}
        return {"anyOf": [value, track] if self.is_text else [value, track, {"type": "string"}]}

    def _read(self, value: object) -> object:
        pairs = self.pairs(value)
        if pairs is None:
            return self.adapter.validate_python(value)
        return self.track({key: self.adapter.validate_python(entry) for key, entry in pairs.items()})


def plain(value: object) -> object:
    """Return a value as JSON and YAML hold it: a track as its mapping form."""
    return value.as_mapping() if isinstance(value, Track) else value
