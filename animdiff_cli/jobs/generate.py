"""Render clips: what `animdiff generate` does, callable from Python."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import SystemRandom
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animdiff_cli.config.layers import DEFAULT, Layer, Resolved, resolve
from animdiff_cli.config.presets import load_preset
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.events import Emit, Note, ignore
from animdiff_cli.core.formats import Format, format_of
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.core.seeds import Job, expand_jobs
from animdiff_cli.diffusion.build import check_model, is_sdxl, part_config
from animdiff_cli.diffusion.device import DevicePlan, plan_device, probe_machine
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.animator import Rendered, load_animator
from animdiff_cli.jobs.compatibility import check_entries
from animdiff_cli.jobs.missing_weights import OnAbsent, absent_weights, fetch_absent, refuse_absent
from animdiff_cli.jobs.prompt_embeddings import with_named_embeddings
from animdiff_cli.jobs.recipe import differing_weights
from animdiff_cli.jobs.unused_options import missing_companion_loras, reject_unused_embeddings, reject_unused_flags
from animdiff_cli.jobs.weights import Weights, check_weights, find_weights
from animdiff_cli.outputs import read_recipe, write_clip
from animdiff_cli.registry.recommend import with_recommended
from animdiff_cli.registry.store import locate, require_model


@dataclass(frozen=True, slots=True)
class RenderPlan:
    """Clips to render with one set of weights. Made before anything is loaded; making it finds most mistakes."""

    configs: tuple[GenerateConfig, ...]
    weights: Weights | None  # None while some are absent
    device: DevicePlan
    resolved: Resolved[GenerateConfig]  # where each setting came from
    seeds_drawn: bool = False  # nobody named a seed
    source_recipe: Mapping[str, Any] | None = None  # of the clip that is rendered again, if one is
    absent: tuple[str, ...] = ()  # weights that are not on this machine, as `animdiff fetch` takes them


@dataclass(frozen=True, slots=True)
class Clip:
    """A rendered clip: `frames` uint8 [F, H, W, 3], and all it takes to render it again."""

    rendered: Rendered

    @property
    def frames(self) -> NDArray[np.uint8]:
        """Pixels as a numpy array, uint8 [F, H, W, 3]."""
        return self.rendered.frames

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Resolved settings, sha256 of every weight file, versions."""
        return self.rendered.recipe

    def save(self, path: str | Path, format: Format | None = None, *, overwrite: bool = False) -> Path:
        """Write the clip, in the format its suffix asks for unless one is named; returns where it is.

        A name that is taken gets `-2` and so on, unless `overwrite`. Raises `UsageError` for an unknown suffix.
        """
        path = Path(path)
        fps = self.recipe["config"]["fps"]
        return write_clip(self.frames, fps, path, format or format_of(path), self.recipe, overwrite=overwrite)


def generate(
    prompt: str,
    *,
    preset: str | None = None,
    device: str = "auto",
    fetch: bool = True,
    emit: Emit = ignore,
    **settings: object,
) -> Clip:
    """Render one clip. `settings` are the keys of `GenerateConfig`: model, seed, steps, loras, num_frames and so on.

    Paths may be text or `Path`. Weights that are not on this machine are fetched, unless `fetch` is False.
    Raises `AnimdiffError` for everything a caller can cause.
    """
    layers = [load_preset(preset).layer()] if preset else []
    values = {key: _as_text(value) for key, value in settings.items()}
    plan = plan_renders(
        [*layers, Layer("keyword argument", values)],
        prompts=[prompt],
        device=device,
        on_absent=fetch_absent(emit, allowed=fetch),
    )
    return Clip(next(render(plan, emit)))


def plan_renders(
    layers: Sequence[Layer],
    *,
    prompts: Sequence[str] = (),
    seeds: Sequence[int] = (),
    repeat: int = 1,
    device: str = "auto",
    on_absent: OnAbsent = refuse_absent,
) -> RenderPlan:
    """Settle every setting, every file and the device. Loads no weights.

    Every prompt is rendered with every seed; those of `layers` count where none is given here. Where `on_absent`
    leaves weights absent, the plan says what they are, and they are not checked.
    """
    resolved = with_named_embeddings(resolve(GenerateConfig, with_recommended(layers)), prompts)
    require_model(_text(resolved, "model"))
    absent = absent_weights(resolved.values)  # an unknown model is the first thing to say
    _check_image_model(resolved)
    _require_motion_choice(resolved)
    return _plan(resolved, prompts, seeds, repeat, device, absent, on_absent)


def plan_from_recipe(
    path: Path,
    changes: Sequence[Layer] = (),
    *,
    prompts: Sequence[str] = (),
    seeds: Sequence[int] = (),
    repeat: int = 1,
    device: str = "auto",
    on_absent: OnAbsent = refuse_absent,
) -> RenderPlan:
    """Plan to render the clip in `path` again from the recipe it carries; everything else given wins over it."""
    recipe = read_recipe(path)
    settings = recipe.get("config")
    if not isinstance(settings, dict):
        raise UsageError(f"the recipe in {path} holds no settings", hint="give a clip that animdiff rendered")
    layers = [Layer(f"recipe of {path.name}", settings), *changes]
    resolved = with_named_embeddings(resolve(GenerateConfig, layers), prompts)
    absent = absent_weights(resolved.values)
    return replace(_plan(resolved, prompts, seeds, repeat, device, absent, on_absent), source_recipe=recipe)


def render(plan: RenderPlan, emit: Emit = ignore) -> Iterator[Rendered]:
    """Load the weights once and render clip after clip."""
    if plan.weights is None:
        refuse_absent(plan.absent)
    for note in missing_companion_loras(plan.configs[0]):
        emit(Note(note))
    most_frames = max(config.num_frames for config in plan.configs)
    animator = load_animator(plan.weights, plan.device, num_frames=most_frames, emit=emit)
    if plan.source_recipe:
        for name in differing_weights(plan.source_recipe, animator.hashes.result(), plan.configs[0]):
            emit(Note(f"{name} is not the file the clip was rendered with: frames will differ"))
    for job, config in enumerate(plan.configs, start=1):
        if plan.seeds_drawn:
            emit(Note(f"seed {config.seed}, drawn at random"))
        yield animator.render(config, emit, job=job, jobs=len(plan.configs))


def _plan(
    resolved: Resolved[GenerateConfig],
    prompts: Sequence[str],
    seeds: Sequence[int],
    repeat: int,
    device: str,
    absent: Sequence[str],
    on_absent: OnAbsent,
) -> RenderPlan:
    reject_unused_flags(resolved)
    jobs = _jobs(resolved, prompts, seeds, repeat)
    configs = tuple(resolved.build(prompt=job.prompt, seed=job.seed) for job in jobs)
    _check_text(configs)
    check_entries(resolved.values)
    planned = plan_device(probe_machine(), device, configs[0].dtype)
    drawn = not seeds and "seed" not in resolved.values
    if absent and not on_absent(absent):
        return RenderPlan(configs, None, planned, resolved, drawn, absent=tuple(absent))
    weights = find_weights(configs[0])
    check_weights(weights, max(config.num_frames for config in configs))
    reject_unused_embeddings(resolved, configs)
    _check_clip_skip(configs[0].clip_skip, weights.model)
    return RenderPlan(configs, weights, planned, resolved, drawn)


def _jobs(resolved: Resolved[GenerateConfig], prompts: Sequence[str], seeds: Sequence[int], repeat: int) -> list[Job]:
    prompt, seed = _text(resolved, "prompt"), resolved.values.get("seed")
    prompts = prompts or ([prompt] if prompt is not None else [])
    seeds = seeds or ([seed] if isinstance(seed, int) else [])
    return expand_jobs(prompts, seeds, repeat, SystemRandom())


def _check_image_model(resolved: Resolved[GenerateConfig]) -> None:
    """Say first of all if what was named as the image model is none, where it is on this machine."""
    ref = parse_ref(str(resolved.values["model"]))
    if ref.source == "path":
        check_model(locate(ref, "base").path, needs_vae=resolved.values.get("vae") is None)


def _require_motion_choice(resolved: Resolved[GenerateConfig]) -> None:
    """Refuse to render stills by accident: a model nobody recommends a motion module for needs one named."""
    if resolved.values["motion_module"] is None and resolved.origins["motion_module"] == DEFAULT:
        raise UsageError(
            f"no motion module was named for `{resolved.values['model']}`",
            hint="add `--motion-module mm-v3`, or `--no-motion` for still frames",
        )


def _check_text(configs: Sequence[GenerateConfig]) -> None:
    """Refuse bytes that are no text: the shell lets them through, no tokenizer takes them."""
    for config in configs:
        try:
            f"{config.prompt}{config.negative_prompt}".encode()
        except UnicodeEncodeError as error:
            raise UsageError("the prompt holds bytes that are no text", hint="write it in UTF-8") from error


def _check_clip_skip(clip_skip: int, model: Path) -> None:
    layers = part_config(model, "text_encoder").get("num_hidden_layers", 12)
    most = layers - (2 if is_sdxl(model) else 1)  # SDXL leaves out one as it is
    if clip_skip > most:
        raise UsageError(
            f"cannot leave out {clip_skip} of the {layers} layers of the text encoder of {model.name}",
            hint=f"`--clip-skip` goes up to {most} here",
        )


def _as_text(value: object) -> object:
    """Turn paths, also in lists and records, into text."""
    if isinstance(value, (list, tuple)):
        return [_as_text(entry) for entry in value]
    if isinstance(value, Mapping):
        return {key: _as_text(entry) for key, entry in value.items()}
    return str(value) if isinstance(value, Path) else value


def _text(resolved: Resolved[GenerateConfig], key: str) -> str | None:
    value = resolved.values.get(key)
    return value if isinstance(value, str) else None
