"""The settings of a pydantic record, by dotted key, and what each may hold.

Fields of nested records have keys such as `data.fps`. A setting that names weights may be written as text or as a
record of named fields; `loras.0.scale` is one field of one entry.
"""

import types
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MultipleOf
from pydantic import BaseModel, BeforeValidator, TypeAdapter
from pydantic.fields import FieldInfo

from animdiff_cli.config.varying import Varying

_TYPE_NAMES: Mapping[type, str] = MappingProxyType(
    {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "true or false",
        Path: "a path",
        tuple: "a number or a range as in `0.3-0.6`, each",
    }
)
_BOUNDS = ((Ge, "ge", "from"), (Gt, "gt", "above"), (Le, "le", "up to"), (Lt, "lt", "below"))


class TextRecord(BaseModel):
    """A record that has a text form as well, such as `REF@SCALE`. Settings hold what `stored` returns."""

    #: its text form, for hints
    example: ClassVar[str] = "name@0.8"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form. Raises `UsageError`."""
        raise NotImplementedError

    @classmethod
    def read(cls, value: object) -> Self:
        """Read any form: text, a mapping, or a record. Raises `UsageError`."""
        return cls.parse(value) if isinstance(value, str) else cls.model_validate(value)

    def stored(self) -> object:
        """Return the canonical form: text where text holds every field that is set, else a mapping."""
        raise NotImplementedError


def stored_form(record: type[TextRecord]) -> BeforeValidator:
    """Return a validator that turns text or a mapping into what settings hold."""
    return BeforeValidator(
        lambda value: record.read(value).stored() if isinstance(value, (str, Mapping, record)) else value
    )


@dataclass(frozen=True, slots=True)
class Reference:
    """Marks text that refers to weights, and the record it may be written as instead."""

    record: type[TextRecord] | None = None


@dataclass(frozen=True, slots=True)
class WithRecord:
    """Marks text that refers to no weights, and the record it may be written as instead."""

    record: type[TextRecord]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its dotted key and its type, taken apart."""

    key: str
    field: FieldInfo
    value_type: type  # of the value, or of each entry of a list
    is_list: bool
    is_optional: bool
    choices: tuple[str, ...]
    metadata: tuple[object, ...]  # bounds and markers
    adapter: TypeAdapter[Any]

    @property
    def reference(self) -> Reference | None:
        """The marker of a setting that names weights."""
        return next((mark for mark in self.metadata if isinstance(mark, Reference)), None)

    @property
    def record(self) -> "type[TextRecord] | None":
        """The record that the value, or each entry of it, may be written as."""
        return next((mark.record for mark in self.metadata if isinstance(mark, (Reference, WithRecord))), None)

    @property
    def varying(self) -> Varying | None:
        """The marker of a setting that may vary over a clip."""
        return next((mark for mark in self.metadata if isinstance(mark, Varying)), None)

    @property
    def has_multiple(self) -> bool:
        """True if values must be a multiple of some number."""
        return any(isinstance(bound, MultipleOf) for bound in self.metadata)

    @property
    def max_length(self) -> int | None:
        """Longest text in characters, or longest list in entries; None without a limit."""
        return next((mark.max_length for mark in self.metadata if isinstance(mark, MaxLen)), None)

    @property
    def least(self) -> object:
        """Smallest number that is allowed; None without such a bound."""
        return next((mark.ge for mark in self.metadata if isinstance(mark, Ge)), None)

    @property
    def allowed(self) -> str:
        """Describe in words what the setting may hold."""
        if self.is_list:
            return f"a list of {'references' if self.reference else 'texts or records' if self.record else 'texts'}"
        words = f"one of {', '.join(self.choices)}" if self.choices else f"{_TYPE_NAMES[self.value_type]}{self._range}"
        if self.varying:
            return f"{words}, {self.varying.form}, or null" if self.is_optional else f"{words}, or {self.varying.form}"
        return f"{words} or null" if self.is_optional else words

    @property
    def _range(self) -> str:
        bounds = [
            f" {word} {getattr(bound, name)}"
            for kind, name, word in _BOUNDS
            for bound in self.metadata
            if isinstance(bound, kind)
        ]
        multiples = [f", a multiple of {mark.multiple_of}" for mark in self.metadata if isinstance(mark, MultipleOf)]
        return "".join([*bounds, *multiples])


@cache
def settings_of(model: type[BaseModel]) -> Mapping[str, Setting]:
    """List every setting of a record by dotted key, in the order of its fields."""
    found: dict[str, Setting] = {}
    for name, field in model.model_fields.items():
        if nested := _record_type(field):
            found |= {
                f"{name}.{key}": replace(setting, key=f"{name}.{key}") for key, setting in settings_of(nested).items()
            }
        else:
            found[name] = _setting(name, field)
    return MappingProxyType(found)


@cache
def groups_of(model: type[BaseModel]) -> frozenset[str]:
    """List the keys that hold settings of their own, such as `data`."""
    return frozenset(name for name, field in model.model_fields.items() if _record_type(field))


def split_key(model: type[BaseModel], key: str) -> tuple[str, str]:
    """Split a key into the setting it belongs to and the path within its value; "" for the whole value.

    An unknown key comes back whole.
    """
    settings = settings_of(model)
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        if (setting := ".".join(parts[:end])) in settings:
            return setting, ".".join(parts[end:])
    return key, ""


def _setting(key: str, field: FieldInfo) -> Setting:
    value_type, is_optional, metadata = _taken_apart(field.annotation)
    is_tuple = get_origin(value_type) is tuple
    is_list = is_tuple and get_args(value_type)[-1] is Ellipsis
    if is_tuple:
        value_type, _, entry_metadata = _taken_apart(get_args(value_type)[0])
        metadata += entry_metadata
    for mark in (*field.metadata, *metadata):
        if isinstance(mark, Varying):
            value_type, _, bounds = _taken_apart(mark.value)
            metadata += bounds
    if any(isinstance(mark, (Reference, WithRecord)) for mark in metadata):
        value_type = str
    choices = get_args(value_type) if get_origin(value_type) is Literal else ()
    annotated: Any = Annotated[field.annotation, field]
    return Setting(
        key,
        field,
        value_type=tuple if is_tuple and not is_list else str if choices else value_type,
        is_list=is_list,
        is_optional=is_optional,
        choices=choices,
        metadata=(*field.metadata, *metadata),
        adapter=TypeAdapter(annotated),
    )


def _taken_apart(annotation: Any) -> tuple[Any, bool, tuple[object, ...]]:
    """Split an annotation into the type, whether it may be null, and the metadata."""
    is_union = get_origin(annotation) in (Union, types.UnionType)
    members = [member for member in get_args(annotation) if member is not types.NoneType] if is_union else [annotation]
    is_optional = is_union and types.NoneType in get_args(annotation)
    if get_origin(members[0]) is not Annotated:
        return members[0], is_optional, ()
    bare, *metadata = get_args(members[0])
    fields = [item.metadata if isinstance(item, FieldInfo) else [item] for item in metadata]
    return bare, is_optional, tuple(mark for marks in fields for mark in marks)


def _record_type(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
