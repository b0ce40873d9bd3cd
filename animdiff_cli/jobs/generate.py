"""Render clips: what `animdiff generate` does, callable from Python."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import SystemRandom
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animdiff_cli.config.layers import DEFAULT, Layer, Resolved, resolve
from animdiff_cli.config.load import flag_name
from animdiff_cli.config.presets import load_preset
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.choices import Format
from animdiff_cli.core.events import Emit, Note, ignore
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.core.seeds import Job, expand
from animdiff_cli.diffusion.build import check_model, is_sdxl, part_config
from animdiff_cli.diffusion.device import DevicePlan, plan_device, probe_machine
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.animator import Rendered, Weights, load_animator
from animdiff_cli.jobs.recipe import differing_weights
from animdiff_cli.outputs import format_of, read_recipe, write_clip
from animdiff_cli.registry.recommend import with_recommended
from animdiff_cli.registry.store import locate, require_model


@dataclass(frozen=True, slots=True)
class RenderPlan:
    """Clips to render with one set of weights. Made before anything is loaded; making it finds most mistakes."""

    configs: tuple[GenerateConfig, ...]
    weights: Weights
    device: DevicePlan
    resolved: Resolved  # where each setting came from
    seeds_drawn: bool = False  # nobody named a seed
    source_recipe: Mapping[str, Any] | None = None  # of the clip that is rendered again, if one is


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
    prompt: str, *, preset: str | None = None, device: str = "auto", emit: Emit = ignore, **settings: object
) -> Clip:
    """Render one clip. `settings` are the keys of `GenerateConfig`: model, seed, steps, num_frames and so on.

    Paths may be text or `Path`. Raises `AnimdiffError` for everything a caller can cause.
    """
    layers = [load_preset(preset).layer()] if preset else []
    values = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    plan = plan_renders([*layers, Layer("keyword argument", values)], prompts=[prompt], device=device)
    return Clip(next(render(plan, emit)))


def plan_renders(
    layers: Sequence[Layer],
    *,
    prompts: Sequence[str] = (),
    seeds: Sequence[int] = (),
    repeat: int = 1,
    device: str = "auto",
) -> RenderPlan:
    """Settle every setting, every file and the device. Loads no weights.

    Every prompt is rendered with every seed; those of `layers` count where none is given here.
    """
    settled = resolve(with_recommended(layers))
    locate(parse_ref(require_model(_text(settled, "model"))), "base")  # an unknown model is the first thing to say
    _require_motion_choice(settled)
    return _plan(settled, prompts, seeds, repeat, device)


def plan_again(
    path: Path,
    changes: Sequence[Layer] = (),
    *,
    prompts: Sequence[str] = (),
    seeds: Sequence[int] = (),
    repeat: int = 1,
    device: str = "auto",
) -> RenderPlan:
    """Plan to render the clip in `path` again from the recipe it carries; everything else given wins over it."""
    recipe = read_recipe(path)
    settings = recipe.get("config")
    if not isinstance(settings, dict):
        raise UsageError(f"the recipe in {path} holds no settings", hint="give a clip that animdiff rendered")
    settled = resolve([Layer(f"recipe of {path.name}", settings), *changes])
    return replace(_plan(settled, prompts, seeds, repeat, device), source_recipe=recipe)


def render(plan: RenderPlan, emit: Emit = ignore) -> Iterator[Rendered]:
    """Load the weights once and render clip after clip."""
    most_frames = max(config.num_frames for config in plan.configs)
    animator = load_animator(plan.weights, plan.device, num_frames=most_frames, emit=emit)
    if plan.source_recipe:
        for name in differing_weights(plan.source_recipe, animator.hashes.result(), plan.configs[0]):
            emit(Note(f"{name} is not the file the clip was rendered with: frames will differ"))
    for job, config in enumerate(plan.configs, start=1):
        if plan.seeds_drawn:
            emit(Note(f"seed {config.seed}, drawn at random"))
        yield animator.render(config, emit, job=job, jobs=len(plan.configs))


def find_weights(config: GenerateConfig) -> Weights:
    """Find the files of a render on this machine and check that the image model's folder is whole."""
    model = locate(parse_ref(config.model), "base").path
    check_model(model)
    _check_clip_skip(config.clip_skip, model)
    motion = locate(parse_ref(config.motion_module), "motion-module").path if config.motion_module else None
    return Weights(model, motion, config.motion_version)


def _plan(settled: Resolved, prompts: Sequence[str], seeds: Sequence[int], repeat: int, device: str) -> RenderPlan:
    _refuse_idle_negative(settled)
    jobs = _jobs(settled, prompts, seeds, repeat)
    configs = tuple(settled.config(prompt=job.prompt, seed=job.seed) for job in jobs)
    _check_text(configs)
    weights = find_weights(configs[0])
    planned = plan_device(probe_machine(), device, configs[0].dtype)
    return RenderPlan(configs, weights, planned, settled, seeds_drawn=not seeds and "seed" not in settled.values)


def _jobs(settled: Resolved, prompts: Sequence[str], seeds: Sequence[int], repeat: int) -> list[Job]:
    prompt, seed = _text(settled, "prompt"), settled.values.get("seed")
    prompts = prompts or ([prompt] if prompt is not None else [])
    seeds = seeds or ([seed] if isinstance(seed, int) else [])
    return expand(prompts, seeds, repeat, SystemRandom())


def _require_motion_choice(settled: Resolved) -> None:
    """Refuse to render stills by accident: a model nobody recommends a motion module for needs one named."""
    if settled.values["motion_module"] is None and settled.origins["motion_module"] == DEFAULT:
        raise UsageError(
            f"no motion module was named for `{settled.values['model']}`",
            hint="add `--motion-module mm-v3`, or `--no-motion` for still frames",
        )


def _refuse_idle_negative(settled: Resolved) -> None:
    """Refuse `--negative` where guidance is off: it would change nothing. In a preset it may wait for guidance."""
    flag = flag_name("negative_prompt")
    guidance = settled.values["guidance_scale"]
    if settled.origins["negative_prompt"] == flag and isinstance(guidance, float) and guidance <= 1:
        raise UsageError(
            f"`{flag}` has no effect at a guidance scale of {guidance:g}",
            hint=f"raise `--guidance-scale` above 1, or leave `{flag}` out",
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


def _text(settled: Resolved, key: str) -> str | None:
    value = settled.values.get(key)
    return value if isinstance(value, str) else None
