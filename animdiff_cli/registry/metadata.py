"""`NAME.json` beside weights: the model's metadata file.

`animdiff fetch` records the download there. Users may add, or write for a file they copied in, what a catalog entry
would hold: description, base, license, trigger words, recommended settings.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.values import check_values
from animdiff_cli.errors import UsageError
from animdiff_cli.files.untrusted import read_json
from animdiff_cli.registry.catalog import Base, CatalogEntry, first_validation_error


class ModelMetadata(BaseModel):
    """Fields of a metadata file that users set. Other keys are ignored: download records, keys of other programs."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    description: str | None = None
    base: Base | None = None
    license: str | None = None
    trigger_words: tuple[str, ...] = ()
    recommended: Mapping[str, object] = Field(default={}, description="Defaults for `generate` with these weights.")

    @field_validator("recommended")
    @classmethod
    def _check_recommended(cls, recommended: Mapping[str, object]) -> Mapping[str, object]:
        return check_values(GenerateConfig, recommended, "recommended settings")


def metadata_path(path: Path) -> Path:
    """Return the path of the metadata file of a weight file or model folder, existing or not."""
    return path.with_name(f"{path.name}.json")


def read_metadata(path: Path) -> ModelMetadata:
    """Read the metadata of the weights at `path`; empty if there is no metadata file.

    Raises UsageError for an invalid file, because its settings would otherwise be dropped silently.
    """
    fields = read_metadata_json(path)
    try:
        return ModelMetadata.model_validate(fields)
    except ValidationError as error:
        message = f"{metadata_path(path)}: {first_validation_error(error)}"
        raise UsageError(message, hint="correct this key") from error
    except UsageError as error:
        raise UsageError(f"{metadata_path(path)}: {error}", hint=error.hint) from error


def read_metadata_json(path: Path) -> Mapping[str, Any]:
    """Read all keys of the metadata file of `path`, unchecked; empty if it is missing or not a JSON object."""
    try:
        fields = read_json(metadata_path(path))
    except (OSError, ValueError):
        return {}
    return fields if isinstance(fields, dict) else {}


def metadata_of(path: Path, entry: CatalogEntry | None) -> ModelMetadata:
    """Return the metadata of local weights: from their catalog entry if they have one, else from their file."""
    if entry is None:
        return read_metadata(path)
    return ModelMetadata.model_construct(  # the entry is checked
        description=entry.description,
        base=entry.base,
        license=entry.license,
        trigger_words=entry.trigger_words,
        recommended=entry.recommended,
    )
