"""Settings of a training run from defaults, model, file, `--set` and flags, each value remembering where it came from.

Keys of `data` are written `data.fps`, or as a mapping `data:` in a file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from animdiff_cli.config.data_config import DataConfig
from animdiff_cli.config.layers import DEFAULT, Layer
from animdiff_cli.config.train_config import STAGE_DEFAULTS, TrainConfig
from animdiff_cli.config.yamlfile import read_mapping
from animdiff_cli.core.choices import Stage
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import UsageError

_NOTHING = ("", "null", "none", "~")
_DATA = "data."


@dataclass(frozen=True, slots=True)
class ResolvedTraining:
    """The settings of a run, and the place each came from, both by dotted key."""

    config: TrainConfig
    origins: Mapping[str, str]

    def items(self) -> Iterator[tuple[str, object, str]]:
        """List key, value and origin in the schema's order."""
        flat = _flattened(self.config.model_dump(mode="json"))
        return ((key, flat[key], self.origins[key]) for key in _fields() if key in flat)


def resolve_training(stage: Stage, layers: Sequence[Layer]) -> ResolvedTraining:
    """Merge layers, lowest first, over the defaults of `stage`.

    Every value is checked, also one that is replaced later. Raises `UsageError` naming its origin.
    """
    values: dict[str, object] = {}
    origins: dict[str, str] = dict.fromkeys(_fields(), DEFAULT)
    for layer in (Layer(f"default of {stage}", {"stage": stage, **STAGE_DEFAULTS[stage]}), *layers):
        for key, value in _flattened(layer.values).items():
            origin = layer.origin(key)
            values[key], origins[key] = check_setting(key, value, origin), origin
    if values["stage"] != stage:
        raise UsageError(
            f"{origins['stage']} describes a {values['stage']}, not a {stage}",
            hint=f"use `{COMMANDS[values['stage']]}`",
        )
    if values.get("as_lora") and stage != "domain-adapter":
        raise UsageError(
            f"{origins['as_lora']}: `as_lora` has no effect on a {stage}: only a look is saved as an ordinary LoRA",
            hint=f"leave `as_lora` out, or learn a look with `{COMMANDS['domain-adapter']} --as-lora`",
        )
    for key, info in _fields().items():
        if info.is_required() and key not in values:
            flag = f"--{key.removeprefix(_DATA).replace('_', '-')}"
            raise UsageError(f"no `{key}` was given", hint=f"add `{flag}` or put it into a config file")
    return ResolvedTraining(_built(values), MappingProxyType(origins))


def file_layer(path: Path) -> Layer:
    """Read a YAML file of settings. Raises `NotFound` or `UsageError`."""
    return Layer(str(path), read_mapping(path))


def assignment_layer(assignments: Sequence[str]) -> Layer:
    """Read `key=value` pairs of `--set`. Raises `UsageError`."""
    values: dict[str, object] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {assignment}: expected key=value", hint="write it as in `--set lr=1e-4`")
        values[key.strip()] = None if text.strip().lower() in _NOTHING else text
    return Layer("--set", values)


#: the command that trains each stage
COMMANDS: Mapping[object, str] = MappingProxyType(
    {
        "motion-lora": "animdiff train-lora",
        "domain-adapter": "animdiff train-adapter",
        "motion-module": "animdiff train-motion",
    }
)


@cache
def _fields() -> Mapping[str, FieldInfo]:
    """Every dotted key of the record with its field, in order."""
    fields: dict[str, FieldInfo] = {}
    for key, info in TrainConfig.model_fields.items():
        if key == "data":
            fields |= {f"{_DATA}{inner}": field for inner, field in DataConfig.model_fields.items()}
        else:
            fields[key] = info
    return fields


def _flattened(values: Mapping[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        if key == "data" and isinstance(value, Mapping):
            flat |= {f"{_DATA}{inner}": item for inner, item in value.items()}
        else:
            flat[key] = value
    return flat


def check_setting(key: str, value: object, origin: str) -> object:
    """Check one setting by its dotted key; returns it as the record holds it. Raises `UsageError` naming the origin."""
    if key not in _fields():
        hint = did_you_mean(key, _fields(), otherwise="`--help` lists the settings")
        raise UsageError(f"{origin}: unknown key `{key}`", hint=hint)
    info = _fields()[key]
    if isinstance(value, str) and get_origin(info.annotation) is tuple:
        value = (value,)
    if isinstance(value, bool) and info.annotation not in (bool, bool | None):
        raise UsageError(f"{origin}: `{key}` must be no true or false", hint="put text in quotes")
    try:
        return _adapter(key).validate_python(value)
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        message = f"{origin}: `{key}`: {said[0].lower()}{said[1:]}, got `{value}`"
        raise UsageError(message, hint=_remedy(key, value)) from error


@cache
def _adapter(key: str) -> TypeAdapter[Any]:
    annotated: Any = Annotated[_fields()[key].annotation, _fields()[key]]
    return TypeAdapter(annotated)


def _remedy(key: str, value: object) -> str | None:
    info = _fields()[key]
    choices = [choice for choice in _literals(info.annotation) if isinstance(choice, str)]
    if choices:
        return did_you_mean(str(value), choices, otherwise=f"one of {', '.join(choices)}")
    return info.description if info.is_required() else f"for example `{info.default}`"


def _literals(annotation: Any) -> Iterator[object]:
    for argument in getattr(annotation, "__args__", ()):
        if hasattr(argument, "__args__"):
            yield from _literals(argument)
        else:
            yield argument


def _built(values: Mapping[str, object]) -> TrainConfig:
    nested: dict[str, object] = {key: value for key, value in values.items() if not key.startswith(_DATA)}
    nested["data"] = {key.removeprefix(_DATA): value for key, value in values.items() if key.startswith(_DATA)}
    try:
        return TrainConfig.model_validate(nested)
    except ValidationError as error:
        # single values were checked before, so this is a rule between several of them
        raise UsageError(f"these settings do not go together: {error.errors()[0]['msg']}") from error
