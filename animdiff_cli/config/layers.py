"""Layers of settings, merged into one record, each value remembering where it came from.

Lowest to highest: defaults < what the model recommends < preset < config file < environment < `--set` < flag.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pydantic import ValidationError

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.values import FIELDS, check
from animdiff_cli.errors import UsageError

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings from one place. `spelled` says how a key is written there, where that differs from the key."""

    source: str  # as a person would name it: `look.yaml`, `preset \`quick\``
    values: Mapping[str, object]
    spelled: Mapping[str, str] = field(default_factory=dict)

    def origin(self, key: str) -> str:
        """Name the place a key of this layer came from: `ANIMDIFF_STEPS`, `--steps`, or the source."""
        return self.spelled.get(key, self.source)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What would apply, and where each value came from. Both mappings have the same keys.

    A key with no default that no layer gave (`prompt`, `model`, `seed`) is in neither.
    """

    values: Mapping[str, object]
    origins: Mapping[str, str]

    def config(self, **given: object) -> GenerateConfig:
        """Build the record of one clip; `given` values, say prompt and seed of a job, win. Raises UsageError."""
        values = {**self.values, **{key: check(key, value, key) for key, value in given.items()}}
        missing = [name for name, info in FIELDS.items() if info.is_required() and name not in values]
        if missing:
            raise UsageError(f"no `{missing[0]}` was given", hint=f"add `--{missing[0]}` or put it into a config file")
        try:
            return GenerateConfig.model_validate(values)
        except ValidationError as error:
            # single values were checked before, so this is a rule between several of them
            raise UsageError(f"these settings do not go together: {error.errors()[0]['msg']}") from error


def resolve(layers: Sequence[Layer]) -> Resolved:
    """Merge layers, lowest first, over the schema's defaults.

    Every value of every layer is checked, also one that a higher layer replaces: a typo is a typo.
    Raises UsageError naming source, key and what is allowed.
    """
    values: dict[str, object] = {
        key: info.get_default(call_default_factory=True) for key, info in FIELDS.items() if not info.is_required()
    }
    origins = dict.fromkeys(values, DEFAULT)
    for layer in layers:
        for key, value in layer.values.items():
            values[key] = check(key, value, layer.origin(key))
            origins[key] = layer.origin(key)
    in_order = [key for key in FIELDS if key in values]
    return Resolved(
        MappingProxyType({key: values[key] for key in in_order}),
        MappingProxyType({key: origins[key] for key in in_order}),
    )
