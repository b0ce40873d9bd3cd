"""Plan a render: resolve every setting, locate and check every file, choose the device. Loads no weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from animdiff_cli.config.layers import DEFAULT, Layer, Resolved, resolve
from animdiff_cli.config.load import flag_name
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.several_modules import with_first_module
from animdiff_cli.config.weight_settings import LOADING_SETTINGS, chosen_weights
from animdiff_cli.core.curves import Curve, largest
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.core.seeds import Job
from animdiff_cli.core.windows import check_schedule
from animdiff_cli.diffusion.build import check_model
from animdiff_cli.diffusion.device import DevicePlan, plan_device, probe_machine, with_weights_dtype
from animdiff_cli.diffusion.speed import check_speed
from animdiff_cli.diffusion.windows import clip_windows
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.compatibility import check_compatibility
from animdiff_cli.jobs.continuation import sampled_config
from animdiff_cli.jobs.cost import unused_shortcuts
from animdiff_cli.jobs.image_method import (
    check_image_flags,
    check_image_method,
    image_method_notes,
    version_of_alias,
    with_image_method_again,
)
from animdiff_cli.jobs.image_prompts import check_image_encoder
from animdiff_cli.jobs.inputs import check_inputs, differing_inputs, found_beside
from animdiff_cli.jobs.memory_plan import unused_memory_settings, with_memory_level
from animdiff_cli.jobs.missing_weights import OnMissing, find_missing, refuse_missing
from animdiff_cli.jobs.noise_checks import check_noise_flags, check_window_flags, reject_unused_windows
from animdiff_cli.jobs.opened_checks import check_memory, check_opened
from animdiff_cli.jobs.preprocess_choice import check_preprocess_flags, with_preprocess_weights_again
from animdiff_cli.jobs.prompt_embeddings import reject_unused_embeddings, with_named_embeddings
from animdiff_cli.jobs.prompts import (
    GivenPrompt,
    PromptOptions,
    check_prompts,
    plan_jobs,
    reject_unused_interpolation,
    with_negative_travel,
)
from animdiff_cli.jobs.recipe import check_recipe
from animdiff_cli.jobs.resolve import resolve_render, with_given_shape
from animdiff_cli.jobs.source_images import check_images
from animdiff_cli.jobs.source_video import check_video, check_video_flags
from animdiff_cli.jobs.weight_files import find_weights
from animdiff_cli.jobs.weight_notes import weight_notes
from animdiff_cli.jobs.weights import CheckedWeights, check_weights
from animdiff_cli.outputs import read_recipe
from animdiff_cli.registry.store import locate
from animdiff_cli.storage.inputs import local_copy
from animdiff_cli.storage.location import Location, location

NO_OPTIONS = PromptOptions()


@dataclass(frozen=True, slots=True)
class RenderPlan:
    """Clips to render with one set of weights. Planning finds most mistakes before anything is loaded."""

    configs: tuple[GenerateConfig, ...]
    weights: CheckedWeights | None  # None while some are missing
    device: DevicePlan
    resolved: Resolved[GenerateConfig]  # settings and their sources
    seeds_drawn: bool = False  # no seed was given
    source_recipe: Mapping[str, Any] | None = None  # of the clip that is rendered again
    notes: tuple[str, ...] = ()  # on prompts
    missing: tuple[str, ...] = ()  # weights that are not on this machine, as `animdiff fetch` accepts them
    wildcards: Path | None = None  # for prompts of clips that are planned later
    save_control: Path | None = None  # folder for what control networks see
    compare_exact: bool = False  # render the exact clip as well, for `FinishedClip.comparison`


def plan_renders(
    layers: Sequence[Layer],
    *,
    prompts: Sequence[GivenPrompt] = (),
    seeds: Sequence[int] = (),
    repeat: int = 1,
    options: PromptOptions = NO_OPTIONS,
    device: str = "auto",
    on_missing: OnMissing = refuse_missing,
) -> RenderPlan:
    """Plan the clips of `layers`: every prompt with every seed, `repeat` times.

    Prompt and seed of `layers` are used where none are given. Missing weights are passed to `on_missing`; if it does
    not fetch them, the plan lists them and checks no weights. Raises `AnimdiffError` for every mistake.
    """
    resolved = resolve_render(layers, options)
    jobs = plan_jobs(resolved, prompts, seeds, repeat, options)
    drawn = not seeds and "seed" not in resolved.values
    plan = plan_resolved(with_named_embeddings(resolved, jobs), jobs, device=device, on_missing=on_missing, drawn=drawn)
    return replace(plan, wildcards=options.wildcards)


def plan_resolved(
    resolved: Resolved[GenerateConfig],
    jobs: Sequence[Job],
    *,
    device: str = "auto",
    on_missing: OnMissing = refuse_missing,
    drawn: bool = False,
    weights: CheckedWeights | None = None,
) -> RenderPlan:
    """Plan clips whose settings are resolved. `drawn`: their seeds were drawn at random.

    `weights` are those of another plan with the same weights, which are not checked again. Raises `AnimdiffError`.
    """
    missing = []
    if weights is None:
        missing = find_missing(resolved.values)  # reports an unknown model before anything else
        _check_image_model(resolved)
    _require_motion_choice(resolved)
    return _plan(resolved, jobs, device, missing, on_missing, drawn=drawn, weights=weights)


def plan_from_recipe(
    path: Location,
    changes: Sequence[Layer] = (),
    *,
    prompts: Sequence[GivenPrompt] = (),
    seeds: Sequence[int] = (),
    repeat: int = 1,
    options: PromptOptions = NO_OPTIONS,
    device: str = "auto",
    on_missing: OnMissing = refuse_missing,
) -> RenderPlan:
    """Plan to render the clip in `path` again from its recipe; `changes`, prompts and seeds override the recipe."""
    source = location(path)
    with local_copy(source) as local:
        recipe = check_recipe(read_recipe(local), str(source))
    own = Layer(f"recipe of {source.name}", found_beside(source, recipe["config"]))
    resolved = _resolved_again(own, changes)
    resolved = with_negative_travel(resolved, options.negative)
    jobs = plan_jobs(resolved, prompts, seeds, repeat, options)
    resolved = with_named_embeddings(resolved, jobs)
    missing = find_missing(resolved.values)
    drawn = not seeds and "seed" not in resolved.values
    plan = _plan(resolved, jobs, device, missing, on_missing, drawn=drawn)
    notes = (*plan.notes, *differing_inputs(recipe, plan.configs[0]))
    return replace(plan, source_recipe=recipe, notes=notes)


def plan_clip(plan: RenderPlan, changes: Layer) -> tuple[GenerateConfig, bool]:
    """Plan one more clip with the weights of `plan`. Returns its config, and whether its seed was drawn at random.

    `changes` holds the prompt and the settings that differ. Raises `UsageError` for settings that need other weights.
    """
    assert plan.weights is not None
    loaded = plan.resolved.values
    resolved = resolve(GenerateConfig, [Layer("load", loaded), *with_given_shape([changes])])
    check_image_flags(resolved)
    (job,) = plan_jobs(resolved, (), (), 1, PromptOptions(wildcards=plan.wildcards))
    resolved = with_named_embeddings(resolved, [job])
    for key in LOADING_SETTINGS:
        if chosen_weights(key, resolved.values[key]) != chosen_weights(key, loaded[key]):
            raise UsageError(
                f"`{key}` decides which weights are loaded, and cannot change afterwards",
                hint=f"pass it to `load`: `load({key}=…)`",
            )
    config = _config(resolved, job)
    check_prompts([config])
    check_video(config)
    check_images(config)
    check_inputs(config, resolved)
    check_opened(config, plan.weights, plan.device, resolved)
    clip_windows(sampled_config(config, plan.weights.motion_spec), plan.weights.motion_spec)
    return config, "seed" not in resolved.values


def _plan(
    resolved: Resolved[GenerateConfig],
    jobs: Sequence[Job],
    device: str,
    missing: Sequence[str],
    on_missing: OnMissing,
    *,
    drawn: bool,
    weights: CheckedWeights | None = None,
) -> RenderPlan:
    _reject_without_guidance(resolved)
    check_noise_flags(resolved)
    check_image_flags(resolved)
    check_video_flags(resolved)
    check_preprocess_flags(resolved)
    check_image_encoder(resolved)
    reject_unused_windows(resolved)
    configs = tuple(_config(resolved, job) for job in jobs)
    _check_windows(configs[0])
    check_video(configs[0])
    check_images(configs[0])
    check_compatibility(resolved.values)
    check_image_method(configs[0], version_of_alias(configs[0].motion_module))
    planned = plan_device(probe_machine(), device, configs[0].dtype)
    check_speed(configs[0], planned)
    planned = with_weights_dtype(planned, configs[0].weights_dtype)
    check_memory(configs[0], planned)
    notes = (*image_method_notes(resolved), *check_prompts(configs), *weight_notes(configs[0], resolved))
    notes = (*notes, *check_inputs(configs[0], resolved))
    notes = (*notes, *unused_memory_settings(planned, configs[0]), *unused_shortcuts(configs[0]))
    reject_unused_interpolation(resolved, configs)
    if missing and not on_missing(missing):
        return RenderPlan(configs, None, planned, resolved, drawn, notes=notes, missing=tuple(missing))
    weights = weights or check_weights(find_weights(configs[0]))
    sampled = sampled_config(configs[0], weights.motion_spec)
    check_window_flags(resolved, clip_windows(sampled, weights.motion_spec))
    reject_unused_embeddings(resolved, configs)
    notes = (*notes, *check_opened(configs[0], weights, planned, resolved))
    planned = with_memory_level(planned, configs[0], weights)
    return RenderPlan(configs, weights, planned, resolved, drawn, notes=tuple(dict.fromkeys(notes)))


def _resolved_again(own: Layer, changes: Sequence[Layer]) -> Resolved[GenerateConfig]:
    """Resolve the settings of a recipe, `own`, and changes to them.

    A clip that becomes a loop, or none any more, has other windows than the recorded ones.
    """
    changes = with_image_method_again(own, changes)
    layers = with_preprocess_weights_again(own, changes)
    resolved = resolve(GenerateConfig, with_first_module(layers))
    if resolved.values["loop"] == own.values.get("loop", False):
        return resolved
    return resolve(GenerateConfig, with_first_module([_without_windows(layer, own.source) for layer in layers]))


def _without_windows(layer: Layer, recipe: str) -> Layer:
    """Return a layer without the windows that a recipe records."""
    kept = {key: value for key, value in layer.values.items() if key not in ("context_schedule", "context_stride")}
    return replace(layer, values=kept) if layer.source == recipe else layer


def _config(resolved: Resolved[GenerateConfig], job: Job) -> GenerateConfig:
    return resolved.build(prompt=job.prompt, negative_prompt=job.negative, seed=job.seed)


def _check_image_model(resolved: Resolved[GenerateConfig]) -> None:
    """Check a path that is given as the image model before other settings are checked."""
    ref = parse_ref(str(resolved.values["model"]))
    if ref.source == "path":
        check_model(locate(ref, "base").path, needs_vae=resolved.values.get("vae") is None, inpainting=True)


def _require_motion_choice(resolved: Resolved[GenerateConfig]) -> None:
    """Raise `UsageError` if neither the user nor the image model's recommendation chooses a motion module or none."""
    if resolved.values["motion_module"] is None and resolved.origins["motion_module"] == DEFAULT:
        raise UsageError(
            f"no motion module was named for `{resolved.values['model']}`",
            hint="add `--motion-module mm-v3`, or `--no-motion` for still frames",
        )


def _reject_without_guidance(resolved: Resolved[GenerateConfig]) -> None:
    """Raise `UsageError` for flags that need guidance where there is none. Presets may have them for later use."""
    guidance = largest(cast("float | Curve", resolved.values["guidance_scale"]))
    of_guidance = (flag_name("negative_prompt"), "--negative-at", flag_name("guidance_until"))
    for flag in {resolved.origins[key] for key in ("negative_prompt", "guidance_until")} & {*of_guidance}:
        if guidance > 1:
            break
        raise UsageError(
            f"`{flag}` has no effect at a guidance scale of {guidance:g}",
            hint=f"raise `--guidance-scale` above 1, or leave `{flag}` out",
        )


def _check_windows(config: GenerateConfig) -> None:
    """Check what needs no motion module, which may have to be downloaded first."""
    if config.motion_module:
        check_schedule(
            config.context_schedule,
            config.context_fuse,
            overlap=config.context_overlap,
            stride=config.context_stride,
            loop=config.loop,
        )
