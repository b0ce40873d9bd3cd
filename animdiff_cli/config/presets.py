"""Presets: whole looks by name. Shipped ones, and a person's own, which win where names meet."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.config.layers import Layer
from animdiff_cli.config.values import check
from animdiff_cli.config.yamlfile import read_mapping
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import NotFound, UsageError


@dataclass(frozen=True, slots=True)
class Preset:
    """One YAML file: a line of description, and any subset of the settings of a render."""

    name: str
    description: str
    values: Mapping[str, object]
    path: Path

    def layer(self) -> Layer:
        """The preset as a layer of settings."""
        return Layer(f"preset `{self.name}`", self.values)


def user_presets_dir() -> Path:
    """Where a person's own presets lie."""
    return paths.config_dir() / "presets"


def list_presets() -> list[Preset]:
    """Read every preset there is, by name. Raises UsageError for one that is not valid."""
    return [_read(path) for _, path in sorted(_files().items())]


def load_preset(name: str) -> Preset:
    """Read one preset by name. Raises NotFound for a name nobody has, UsageError for a file that is not valid."""
    files = _files()
    if name in files:
        return _read(files[name])
    if "/" in name or name.endswith((".yaml", ".yml")):
        raise NotFound(f"`{name}` is a file, not the name of a preset", hint=f"use `--config {name}`")
    hint = did_you_mean(name, files, otherwise=f"presets are {', '.join(sorted(files))}")
    raise NotFound(f"unknown preset `{name}`", hint=hint)


def _files() -> dict[str, Path]:
    folders = (paths.presets_dir(), user_presets_dir())
    return {path.stem: path for folder in folders for path in folder.glob("*.yaml")}


def _read(path: Path) -> Preset:
    content = dict(read_mapping(path))
    description = content.pop("description", None)
    if not isinstance(description, str) or not description.strip():
        raise UsageError(f"{path}: `description` is missing", hint="say in one line what it is: `description: …`")
    values = {key: check(key, value, str(path)) for key, value in content.items()}
    return Preset(path.stem, description.strip(), values, path)
