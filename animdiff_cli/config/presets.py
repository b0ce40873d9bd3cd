"""Presets: named sets of settings, shipped or the user's own. The user's own win where names are equal."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.config.layers import Layer
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.values import check_values
from animdiff_cli.config.yamlfile import read_mapping
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import AnimdiffError, NotFound, UsageError


@dataclass(frozen=True, slots=True)
class Preset:
    """One YAML file: a description of one line, and any subset of the settings of a render."""

    name: str
    description: str
    values: Mapping[str, object]
    path: Path

    def layer(self) -> Layer:
        """Return the preset as a layer of settings."""
        return Layer(f"preset `{self.name}`", self.values)


def user_presets_dir() -> Path:
    """Return the folder of the user's own presets."""
    return paths.config_dir() / "presets"


def list_presets(on_invalid: Callable[[AnimdiffError], None] | None = None) -> list[Preset]:
    """Read all presets, sorted by name. An invalid file is passed to `on_invalid`; without it, raises UsageError."""
    presets = []
    for _, path in sorted(_files().items()):
        try:
            presets.append(_read(path))
        except AnimdiffError as error:
            if on_invalid is None:
                raise
            on_invalid(error)
    return presets


def preset_names() -> list[str]:
    """List the names of all presets without reading them."""
    return sorted(_files())


def load_preset(name: str) -> Preset:
    """Read one preset by name. Raises NotFound for an unknown name, UsageError for an invalid file."""
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
        raise UsageError(f"{path}: `description` is missing", hint="describe it in one line: `description: …`")
    values = check_values(GenerateConfig, content, str(path))
    return Preset(path.stem, description.strip(), values, path)
