"""The Python API of `animdiff generate`: render one clip, or load the weights once for many."""

from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

from animdiff_cli.config.keywords import GenerateSettings
from animdiff_cli.config.layers import keyword_layer
from animdiff_cli.config.presets import load_preset
from animdiff_cli.core.events import Emit, ignore
from animdiff_cli.jobs.animator import Animator
from animdiff_cli.jobs.clip import Clip
from animdiff_cli.jobs.missing_weights import fetch_missing
from animdiff_cli.jobs.prompts import GivenPrompt, PromptOptions
from animdiff_cli.jobs.render import load_planned, render
from animdiff_cli.jobs.render_plan import RenderPlan, plan_renders


def generate(
    prompt: GivenPrompt,
    *,
    wildcards: str | Path | None = None,
    preset: str | None = None,
    device: str = "auto",
    fetch: bool = True,
    emit: Emit = ignore,
    **settings: Unpack[GenerateSettings],
) -> Clip:
    """Render one clip. To render several with the same weights, use `load`.

    Args:
        prompt: Text prompt, or texts at positions of the clip as in `{0: "day", "50%": "night"}`.
        wildcards: Folder with a file `colour.txt` for `__colour__` in prompts.
        preset: Preset to start from; `settings` override it.
        device: `auto`, `cuda`, `cuda:N`, `mps` or `cpu`.
        fetch: Download missing weights. If False, missing weights raise `NotFound`.
        emit: Called with every progress event of `animdiff_cli.core.events`.
        settings: Fields of `GenerateConfig`, such as `model`, `seed`, `steps`, `num_frames` and `loras`, with the
            defaults of the command line. Without `seed`, one is drawn at random. Weights may be text or `Path`.

    Returns:
        The clip: `clip.frames` is uint8 [F, H, W, 3], `clip.save(path)` writes it.

    Raises:
        AnimdiffError: `UsageError` for an unknown setting or value, `NotFound` for missing weights, `NetworkError` for
            a failed download, `IntegrityError` for unsafe or damaged weights, `DeviceError` if memory runs out.

    """
    return next(render(_plan(prompt, wildcards, preset, device, fetch, emit, settings), emit))


def load(
    *,
    wildcards: str | Path | None = None,
    preset: str | None = None,
    device: str = "auto",
    fetch: bool = True,
    emit: Emit = ignore,
    **settings: Unpack[GenerateSettings],
) -> Animator:
    """Load the weights once, to render many clips with `Animator.generate`.

    Arguments and errors are those of `generate`. `settings` become the defaults of every clip; a clip may change all of
    them except those that choose weights.

    >>> animator = load(model="pocket", steps=10)  # doctest: +SKIP
    >>> clips = [animator.generate("a red rocket", seed=seed) for seed in range(4)]  # doctest: +SKIP
    """
    return load_planned(_plan(PLACEHOLDER, wildcards, preset, device, fetch, emit, settings), emit)


#: stands for the prompts of `load`, which are not known yet
PLACEHOLDER = "any"


def _plan(
    prompt: GivenPrompt,
    wildcards: str | Path | None,
    preset: str | None,
    device: str,
    fetch: bool,
    emit: Emit,
    settings: Mapping[str, object],
) -> RenderPlan:
    layers = [load_preset(preset).layer()] if preset else []
    return plan_renders(
        [*layers, keyword_layer(settings)],
        prompts=[prompt],
        options=PromptOptions(wildcards=Path(wildcards) if wildcards else None),
        device=device,
        on_missing=fetch_missing(emit, allowed=fetch),
    )
