"""`NAME.json` beside weights: where they came from, and what a person wrote down about them.

`animdiff fetch` keeps its receipt there. A person may add, or write by hand for a file they put here themselves,
what a catalog entry would say: description, base, license, trigger words, recommended settings.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from animdiff_cli.config.values import check
from animdiff_cli.errors import UsageError
from animdiff_cli.files.untrusted import read_json
from animdiff_cli.registry.catalog import Base, CatalogEntry, first_fault


class Sidecar(BaseModel):
    """What a person says of weights. Keys that mean nothing here belong to the receipt, or to another program."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    description: str | None = None
    base: Base | None = None
    license: str | None = None
    trigger_words: tuple[str, ...] = ()
    recommended: Mapping[str, object] = Field(default={}, description="Settings that apply unless others are given.")

    @field_validator("recommended")
    @classmethod
    def _settings_exist(cls, recommended: Mapping[str, object]) -> Mapping[str, object]:
        return {key: check(key, value, "recommended settings") for key, value in recommended.items()}


NOTHING = Sidecar()


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of a file or folder lies, whether or not there is one."""
    return path.with_name(f"{path.name}.json")


def read_sidecar(path: Path) -> Sidecar:
    """Read what is said of the weights at `path`; nothing where there is no sidecar.

    Raises UsageError for one that is not valid: settings that were meant to apply must not be left out in silence.
    """
    fields = read_fields(path)
    try:
        return Sidecar.model_validate(fields)
    except ValidationError as error:
        raise UsageError(f"{sidecar_path(path)}: {first_fault(error)}", hint="correct this key") from error
    except UsageError as error:
        raise UsageError(f"{sidecar_path(path)}: {error}", hint=error.hint) from error


def read_fields(path: Path) -> Mapping[str, Any]:
    """Read all that the sidecar of `path` holds, a receipt included; nothing where it cannot be read."""
    try:
        fields = read_json(sidecar_path(path))
    except (OSError, ValueError):
        return {}
    return fields if isinstance(fields, dict) else {}


def describe(path: Path, entry: CatalogEntry | None) -> Sidecar:
    """Say what is known of weights here: the catalog's word where they have an entry, else their sidecar's."""
    if entry is None:
        return read_sidecar(path)
    return Sidecar(
        description=entry.description,
        base=entry.base,
        license=entry.license,
        trigger_words=entry.trigger_words,
        recommended=entry.recommended,
    )
