"""Where things live: the one place that asks platformdirs and the environment for directories."""

import os
from pathlib import Path

import platformdirs

PACKAGE = Path(__file__).resolve().parent


def pocket_dir() -> Path:
    """The bundled miniature model: a diffusers folder and `motion_module.safetensors`."""
    return PACKAGE / "pocket"


def presets_dir() -> Path:
    """Shipped presets: inside the wheel, or beside the package in a checkout."""
    inside = PACKAGE / "presets"
    return inside if inside.is_dir() else PACKAGE.parent / "presets"


def models_dir() -> Path:
    """Downloaded weights, kept: `ANIMDIFF_MODELS`, else the platform's data directory."""
    return _from_env("ANIMDIFF_MODELS") or Path(platformdirs.user_data_dir("animdiff", appauthor=False)) / "models"


def config_dir() -> Path:
    """User presets and aliases: `ANIMDIFF_CONFIG`, else the platform's config directory."""
    return _from_env("ANIMDIFF_CONFIG") or Path(platformdirs.user_config_dir("animdiff", appauthor=False))


def output_dir() -> Path:
    """Where renders go when `-o` is not given: `ANIMDIFF_OUTPUT`, else `animdiff-out` where you stand."""
    return _from_env("ANIMDIFF_OUTPUT") or Path("animdiff-out")


def cache_dir() -> Path:
    """What can be computed again: `ANIMDIFF_CACHE`, else the platform's cache directory. Safe to delete."""
    return _from_env("ANIMDIFF_CACHE") or Path(platformdirs.user_cache_dir("animdiff", appauthor=False))


def _from_env(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value).expanduser() if value else None
