"""The Python API of `animdiff generate`: render one clip."""

from collections.abc import Mapping
from pathlib import Path

from animdiff_cli.config.layers import Layer
from animdiff_cli.config.presets import load_preset
from animdiff_cli.core.events import Emit, ignore
from animdiff_cli.jobs.clip import Clip
from animdiff_cli.jobs.missing_weights import fetch_missing
from animdiff_cli.jobs.render import render
from animdiff_cli.jobs.render_plan import plan_renders


def generate(
    prompt: str,
    *,
    preset: str | None = None,
    device: str = "auto",
    fetch: bool = True,
    emit: Emit = ignore,
    **settings: object,
) -> Clip:
    """Render one clip. `settings` are the fields of `GenerateConfig`: model, seed, steps, loras, num_frames and so on.

    Paths may be text or `Path`. Missing weights are fetched unless `fetch` is False.
    Raises `AnimdiffError` for everything a caller can cause.
    """
    layers = [load_preset(preset).layer()] if preset else []
    values = {key: _paths_as_text(value) for key, value in settings.items()}
    plan = plan_renders(
        [*layers, Layer("keyword argument", values)],
        prompts=[prompt],
        device=device,
        on_missing=fetch_missing(emit, allowed=fetch),
    )
    return next(render(plan, emit))


def _paths_as_text(value: object) -> object:
    """Convert paths to text, also in lists and records."""
    if isinstance(value, (list, tuple)):
        return [_paths_as_text(entry) for entry in value]
    if isinstance(value, Mapping):
        return {key: _paths_as_text(entry) for key, entry in value.items()}
    return str(value) if isinstance(value, Path) else value
