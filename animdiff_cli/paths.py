"""Where things live: the one place that asks platformdirs and the environment for directories."""

import os
from collections.abc import Mapping
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


def cache_dir() -> Path:
    """What can be made again at any time: `ANIMDIFF_CACHE`, else the platform's cache directory."""
    return _from_env("ANIMDIFF_CACHE") or Path(platformdirs.user_cache_dir("animdiff", appauthor=False))


def extra_models_dirs() -> tuple[Path, ...]:
    """Model folders of other programs, used in place: `ANIMDIFF_EXTRA_MODELS`, separated as in `PATH`, each once."""
    named = [name for name in os.environ.get("ANIMDIFF_EXTRA_MODELS", "").split(os.pathsep) if name]
    return tuple(dict.fromkeys(expanded(name) for name in named))


def hub_cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where programs of Hugging Face keep what they downloaded: `HF_HUB_CACHE`, else `hub` in `HF_HOME`."""
    if environ.get("HF_HUB_CACHE"):
        return expanded(environ["HF_HUB_CACHE"])
    home = environ.get("HF_HOME") or Path(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return expanded(home) / "hub"


def output_dir() -> Path:
    """Where renders go when `-o` is not given: `ANIMDIFF_OUTPUT`, else `animdiff-out` where you stand."""
    return _from_env("ANIMDIFF_OUTPUT") or Path("animdiff-out")


def _from_env(name: str) -> Path | None:
    value = os.environ.get(name)
    return expanded(value) if value else None


def expanded(name: str | Path) -> Path:
    """Put the home directory in place of `~`; a user nobody knows stays as typed."""
    # unlike Path.expanduser, this one never raises
    return Path(os.path.expanduser(name))  # noqa: PTH111
