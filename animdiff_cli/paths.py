"""Directories: the only module that reads them from platformdirs and the environment."""

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import platformdirs

from animdiff_cli.errors import UsageError

PACKAGE = Path(__file__).resolve().parent

#: start of the names of our temporary folders
TEMPORARY = "animdiff-"


def pocket_dir() -> Path:
    """Return the folder of the bundled pocket model: a diffusers model and `motion_module.safetensors`."""
    return PACKAGE / "pocket"


def presets_dir() -> Path:
    """Return the folder of shipped presets: inside the wheel, or beside the package in a checkout."""
    inside = PACKAGE / "presets"
    return inside if inside.is_dir() else PACKAGE.parent / "presets"


def models_dir() -> Path:
    """Return the folder of downloaded weights: `ANIMDIFF_MODELS`, else in the platform's data directory."""
    return _from_env("ANIMDIFF_MODELS") or Path(platformdirs.user_data_dir("animdiff", appauthor=False)) / "models"


def config_dir() -> Path:
    """Return the folder of user presets and aliases: `ANIMDIFF_CONFIG`, else the platform's config directory."""
    return _from_env("ANIMDIFF_CONFIG") or Path(platformdirs.user_config_dir("animdiff", appauthor=False))


def cache_dir() -> Path:
    """Return the folder of data that can be recomputed: `ANIMDIFF_CACHE`, else the platform's cache directory."""
    return _from_env("ANIMDIFF_CACHE") or Path(platformdirs.user_cache_dir("animdiff", appauthor=False))


def state_dir() -> Path:
    """Return the folder of what runs now: `ANIMDIFF_STATE`, else the platform's state directory."""
    return _from_env("ANIMDIFF_STATE") or Path(platformdirs.user_state_dir("animdiff", appauthor=False))


def extra_models_dirs() -> tuple[Path, ...]:
    """Return the model folders of other programs: `ANIMDIFF_EXTRA_MODELS`, separated as in `PATH`."""
    named = [name for name in os.environ.get("ANIMDIFF_EXTRA_MODELS", "").split(os.pathsep) if name]
    return tuple(dict.fromkeys(expanded(name) for name in named))


def hub_cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the cache of huggingface_hub: `HF_HUB_CACHE`, else `hub` in `HF_HOME`."""
    if environ.get("HF_HUB_CACHE"):
        return expanded(environ["HF_HUB_CACHE"])
    home = environ.get("HF_HOME") or Path(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return expanded(home) / "hub"


def output_dir() -> Path:
    """Return the default output folder: `ANIMDIFF_OUTPUT`, else `animdiff-out` in the current folder."""
    return _from_env("ANIMDIFF_OUTPUT") or Path("animdiff-out")


def variable_of(path: Path) -> str | None:
    """Return the environment variable that moves the folder which holds `path`; None if it is in none of ours.

    >>> variable_of(cache_dir() / "training")
    'ANIMDIFF_CACHE'
    """
    folders = {"ANIMDIFF_CACHE": cache_dir, "ANIMDIFF_MODELS": models_dir, "ANIMDIFF_CONFIG": config_dir}
    with suppress(OSError):  # the current folder was deleted, or no temporary folder can be written
        for name, folder in folders.items():
            if path.absolute().is_relative_to(folder().absolute()):
                return name
        if path.is_relative_to(tempfile.gettempdir()) and any(part.startswith(TEMPORARY) for part in path.parts):
            return "TMPDIR"
    return None


def _from_env(name: str) -> Path | None:
    value = os.environ.get(name)
    return expanded(value) if value else None


def expanded(name: str | Path) -> Path:
    """Expand `~` to the home directory. Returns the path unchanged if the user is unknown."""
    # Path.expanduser raises for an unknown user
    return Path(os.path.expanduser(name))  # noqa: PTH111


def expanded_output(name: str | Path) -> Path:
    """Expand `~` in the path of an output. Raises `UsageError` for an unknown user instead of creating a folder."""
    path = expanded(name)
    if path.parts and path.parts[0].startswith("~") and not str(name).startswith("./"):
        hint = f"write the whole path, or `./{name}` for a folder with that name"
        raise UsageError(f"`{path.parts[0]}`: there is no such user", hint=hint)
    return path
