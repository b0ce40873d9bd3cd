"""Layers of settings, merged into one record, each value remembering where it came from.

One engine for every record: `GenerateConfig` of a render and `TrainConfig` of a training run. For a render, lowest to
highest: defaults < what the model recommends < preset < config file < environment < `--set` < flag.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from animdiff_cli.config.settings import groups_of, settings_of, split_key
from animdiff_cli.config.values import check_value, from_text, set_part
from animdiff_cli.core.validation_words import in_own_words
from animdiff_cli.errors import UsageError

DEFAULT = "default"
Record = TypeVar("Record", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings from one source, by key. Keys of a nested record are dotted, or a mapping under the record's name."""

    source: str  # for messages: `look.yaml`, `preset \`fast\``
    values: Mapping[str, object]
    spelled: Mapping[str, str] = field(default_factory=dict)  # how a key is written there, where it is not the key
    made_of: Mapping[str, str] = field(default_factory=dict)  # entry of a list, and the entry it was made of

    def origin(self, key: str) -> str:
        """Name the place a key of this layer came from: `ANIMDIFF_STEPS`, `--steps`, or the source."""
        return self.spelled.get(key, self.source)


@dataclass(frozen=True, slots=True)
class Resolved(Generic[Record]):
    """Effective settings and their sources, both by dotted key in the order of the schema.

    A key without a default that no layer sets (`prompt`, `model`, `seed`) is in neither.
    """

    model: type[Record]
    values: Mapping[str, object]
    origins: Mapping[str, str]
    made_of: Mapping[str, str] = field(default_factory=dict)  # as of the layers: `controls.1` of `images.0`

    @property
    def config(self) -> Record:
        """The record. Raises as `build`."""
        return self.build()

    def build(self, **changes: object) -> Record:
        """Build the record; `changes`, say prompt and seed of one clip, win over every layer.

        Raises `UsageError` for a missing setting or for settings that contradict each other.
        """
        checked = {key: check_value(self.model, key, value, key) for key, value in changes.items()}
        values = {**self.values, **checked}
        for key, setting in settings_of(self.model).items():
            if setting.field.is_required() and key not in values:
                flag = f"--{key.rpartition('.')[2].replace('_', '-')}"
                raise UsageError(f"no `{key}` was given", hint=f"add `{flag}` or put it into a config file")
        try:
            return self.model.model_validate(_nested(values))
        except ValidationError as error:
            # each value was checked before, so this is a rule about several of them
            message = in_own_words(error.errors()[0]["msg"])
            raise UsageError(f"these settings do not go together: {message}") from error


def resolve(model: type[Record], layers: Sequence[Layer]) -> Resolved[Record]:
    """Merge layers, lowest first, over the defaults of `model`.

    Every value of every layer is checked, including values that a higher layer replaces.
    Raises `UsageError` naming source, key and what is allowed.
    """
    settings = settings_of(model)
    values: dict[str, object] = {
        key: setting.field.get_default(call_default_factory=True)
        for key, setting in settings.items()
        if not setting.field.is_required()
    }
    origins = dict.fromkeys(values, DEFAULT)
    made_of: dict[str, str] = {}
    for layer in layers:
        for key, value in flattened(model, layer.values):
            origin = layer.origin(key)
            checked = check_value(model, key, value, origin)
            whole, part = split_key(model, key)
            values[whole] = set_part(settings[whole], values.get(whole), part, checked, origin) if part else checked
            origins[whole] = origin
        made_of |= layer.made_of
    in_order = [key for key in settings if key in values]
    return Resolved(
        model,
        MappingProxyType({key: values[key] for key in in_order}),
        MappingProxyType({key: origins[key] for key in in_order}),
        MappingProxyType(made_of),
    )


def set_layer(model: type[BaseModel], assignments: Sequence[str]) -> Layer:
    """Read `key=value` pairs of `--set`; the last one counts where a key comes twice. Raises `UsageError`."""
    values: dict[str, object] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {assignment}: expected key=value", hint="write it as in `--set steps=30`")
        values.pop(key.strip(), None)  # assignments apply in the order they are typed
        values[key.strip()] = from_text(model, key.strip(), text)
    return Layer("--set", values)


def with_flags(model: type[BaseModel], assigned: Layer, flags: Layer) -> list[Layer]:
    """Return the layers of `--set` and of flags, lowest first.

    Flags win, except over one part of the same setting: `--lora a --set loras.0.scale=0.5` sets the scale of `a`.
    """
    before: dict[str, object] = {}
    after: dict[str, object] = {}
    for key, value in assigned.values.items():
        setting, part = split_key(model, key)
        (after if part and setting in flags.values else before)[key] = value
    return [replace(assigned, values=before), flags, replace(assigned, values=after)]


def keyword_layer(values: Mapping[str, object]) -> Layer:
    """Make a layer of keyword arguments. Paths may be `Path` objects, also in lists and mappings."""
    return Layer("keyword argument", {key: _paths_as_text(value) for key, value in values.items()})


def flattened(model: type[BaseModel], values: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield every setting of a layer by dotted key: the mapping of a nested record is taken apart."""
    for key, value in values.items():
        if key in groups_of(model) and isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", item) for inner, item in value.items())
        else:
            yield key, value


def _paths_as_text(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return [_paths_as_text(entry) for entry in value]
    if isinstance(value, Mapping):
        return {key: _paths_as_text(entry) for key, entry in value.items()}
    return fspath(value) if isinstance(value, PathLike) else value


def _nested(values: Mapping[str, object]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *groups, name = key.split(".")
        record = nested
        for group in groups:
            record = record.setdefault(group, {})
        record[name] = value
    return nested
