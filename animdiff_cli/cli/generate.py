"""`animdiff generate`: render clips from prompts."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from animdiff_cli.cli import control_options as ctl
from animdiff_cli.cli import generate_options as opt
from animdiff_cli.cli import length_options as long
from animdiff_cli.cli import picture_options as pic
from animdiff_cli.cli import prompt_options as text
from animdiff_cli.cli.missing_weights import on_missing_weights
from animdiff_cli.cli.options import (
    ConfigOpt,
    DeviceOpt,
    EventsOpt,
    ModelOpt,
    PresetOpt,
    QuietOpt,
    SetOpt,
    ThreadsOpt,
    given_flags,
)
from animdiff_cli.core.garbage import collection_paused, freeze_objects
from animdiff_cli.errors import UsageError
from animdiff_cli.weights.lean_imports import import_networks, preload_torch

if TYPE_CHECKING:
    from animdiff_cli.jobs.render_plan import RenderPlan


def generate(
    ctx: typer.Context,
    model: ModelOpt = None,
    motion_module: opt.MotionModuleOpt = None,
    motion_lora: opt.MotionLoraOpt = None,
    lora: opt.LoraOpt = None,
    lora_alpha_mode: opt.LoraAlphaModeOpt = None,
    domain_adapter: opt.DomainAdapterOpt = None,
    vae: opt.VaeOpt = None,
    embedding: opt.EmbeddingOpt = None,
    control: ctl.ControlOpt = None,
    preprocess: ctl.PreprocessOpt = None,
    preprocess_weights: ctl.PreprocessWeightsOpt = None,
    image_prompt: ctl.ImagePromptOpt = None,
    image_encoder: ctl.ImageEncoderOpt = None,
    save_control: ctl.SaveControlOpt = None,
    prompt: text.PromptOpt = None,
    negative: text.NegativeOpt = None,
    prompt_at: text.PromptAtOpt = None,
    negative_at: text.NegativeAtOpt = None,
    prompt_file: text.PromptFileOpt = None,
    prompt_interpolation: text.PromptInterpolationOpt = None,
    prompt_hold: text.PromptHoldOpt = None,
    wildcards: text.WildcardsOpt = None,
    prompt_syntax: text.PromptSyntaxOpt = None,
    region: text.RegionOpt = None,
    seed: opt.SeedOpt = None,
    repeat: opt.RepeatOpt = 1,
    steps: opt.StepsOpt = None,
    guidance_scale: opt.GuidanceScaleOpt = None,
    guidance_until: opt.GuidanceUntilOpt = None,
    scheduler: opt.SchedulerOpt = None,
    cache: opt.CacheOpt = None,
    compare_exact: opt.CompareExactOpt = False,
    clip_skip: opt.ClipSkipOpt = None,
    free_init: opt.FreeInitOpt = None,
    free_init_filter: opt.FreeInitFilterOpt = None,
    frames: opt.FramesOpt = None,
    fps: opt.FpsOpt = None,
    motion_scale: opt.MotionScaleOpt = None,
    no_motion: opt.NoMotionOpt = False,
    loop: long.LoopOpt = None,
    context_length: long.ContextLengthOpt = None,
    context_overlap: long.ContextOverlapOpt = None,
    context_stride: long.ContextStrideOpt = None,
    context_schedule: long.ContextScheduleOpt = None,
    context_fuse: long.ContextFuseOpt = None,
    context_mode: long.ContextModeOpt = None,
    noise_schedule: long.NoiseScheduleOpt = None,
    continue_from: long.ContinueFromOpt = None,
    continue_frames: long.ContinueFramesOpt = None,
    continue_new_only: long.ContinueNewOnlyOpt = None,
    image: pic.ImageOpt = None,
    image_method: pic.ImageMethodOpt = None,
    video: pic.VideoOpt = None,
    video_range: pic.VideoRangeOpt = None,
    video_fps: pic.VideoFpsOpt = None,
    mask: pic.MaskOpt = None,
    mask_feather: pic.MaskFeatherOpt = None,
    denoise: pic.DenoiseOpt = None,
    invert: pic.InvertOpt = None,
    audio: pic.AudioOpt = None,
    width: opt.WidthOpt = None,
    height: opt.HeightOpt = None,
    output: opt.OutputOpt = None,
    format: opt.FormatOpt = None,
    overwrite: opt.OverwriteOpt = False,
    skip_existing: opt.SkipExistingOpt = False,
    device: DeviceOpt = "auto",
    threads: ThreadsOpt = None,
    via: opt.ViaOpt = None,
    dtype: opt.DtypeOpt = None,
    compile: opt.CompileOpt = None,
    weights_dtype: opt.WeightsDtypeOpt = None,
    low_vram: opt.LowVramOpt = None,
    preset: PresetOpt = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    from_: opt.FromOpt = None,
    offline: opt.OfflineOpt = False,
    fetch: opt.FetchOpt = None,
    dry_run: opt.DryRunOpt = False,
    probe: opt.ProbeOpt = False,
    context_show: opt.ContextShowOpt = False,
    json_: EventsOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Render clips and print the path of each file.

    Every prompt is rendered with every seed. If a file exists, -2, -3 and so on is added to the name.
    """
    began = time.monotonic()
    if via is None:
        preload_torch()
    from animdiff_cli.config.load import flag_names

    prompts = text.read_prompts(prompt or [], prompt_file)
    options = text.read_prompt_options(prompt_at or [], negative_at or [], prompt_file, wildcards)
    given = given_flags(ctx, flag_names())
    given.pop("motion_module", None)
    given.pop("motion_modules", None)
    if no_motion:
        if motion_module:
            raise UsageError("--no-motion and --motion-module cannot be combined", hint="use one of them")
        given["motion_module"] = None
    if motion_module:
        given |= _motion_modules(motion_module)
    parts = {"video.section": video_range, "video.fps": video_fps, "mask.feather": mask_feather}
    given |= {key: value for key, value in parts.items() if value is not None}
    jobs = {"prompts": prompts, "seeds": seed or [], "repeat": repeat, "options": options}
    if via is not None:
        from animdiff_cli.cli.via import refuse_local_flags, render_on_server
        from animdiff_cli.config.load import gather

        refuse_local_flags(ctx)
        layers = gather(preset=preset, config_file=config, environ=os.environ, assignments=set_ or [], flags=given)
        render_on_server(
            via, layers, jobs, output=output, formats=format or [], overwrite=overwrite, quiet=quiet, as_json=json_
        )
        return
    if offline and fetch:
        raise UsageError("--offline and --fetch cannot be combined", hint="use one of them")
    allowed = fetch is not False and not offline
    on_missing = on_missing_weights(
        allowed=allowed,
        dry_run=dry_run or context_show,
        ask=from_ is not None and not fetch,
        quiet=quiet,
        as_json=json_,
    )
    plan = _plan(given, preset, config, set_ or [], from_, **jobs, device=device, on_missing=on_missing)
    if save_control:
        plan = replace(plan, save_control=ctl.checked_folder(save_control, plan))
    if compare_exact:
        from animdiff_cli.cli.render_output import with_comparison

        plan = with_comparison(plan)
    if context_show:
        from animdiff_cli.cli.cost_output import print_windows

        print_windows(plan, as_json=json_)
        return
    from animdiff_cli.cli.progress import show_progress
    from animdiff_cli.cli.render_output import print_plan, render_clips, without_done
    from animdiff_cli.jobs.output_paths import choose_output_paths

    is_done = None
    if skip_existing:
        from animdiff_cli.jobs.skip_existing import rendered_before

        is_done = rendered_before(plan)
    outputs = choose_output_paths(plan.configs, output, format or [], overwrite=overwrite, is_done=is_done)
    plan, outputs, numbers = without_done(plan, outputs, quiet=quiet, as_json=json_)
    if not plan.configs:
        return
    if dry_run or probe:
        seconds = time.monotonic() - began
        if probe:
            from animdiff_cli.cli.cost_output import run_probe

            run_probe(plan, quiet=quiet)
        print_plan(plan, outputs, online=bool(fetch), planning_seconds=seconds, as_json=json_, quiet=quiet)
        return
    freeze_objects()
    with show_progress(quiet=quiet, as_json=json_) as emit:
        render_clips(plan, outputs, numbers, emit, quiet=quiet, as_json=json_)


def _motion_modules(refs: list[str]) -> dict[str, object]:
    """Return the setting that `--motion-module` gives: one module, or several with their scales."""
    from animdiff_cli.config.weight_settings import WeightEntry

    is_one = len(refs) == 1 and WeightEntry.parse(refs[0]).scale is None
    return {"motion_module": refs[0]} if is_one else {"motion_modules": refs}


def _plan(
    flags: dict[str, object],
    preset: str | None,
    config: Path | None,
    assignments: list[str],
    from_clip: Path | None,
    **rest: Any,
) -> "RenderPlan":
    from animdiff_cli.config.layers import set_layer
    from animdiff_cli.config.load import flag_layer, gather
    from animdiff_cli.config.schema import GenerateConfig

    with collection_paused():
        import_networks()
        from animdiff_cli.jobs.render_plan import plan_from_recipe, plan_renders

        freeze_objects()
    if from_clip is None:
        layers = gather(preset=preset, config_file=config, environ=os.environ, assignments=assignments, flags=flags)
        return plan_renders(layers, **rest)
    if preset or config:
        raise UsageError(
            "--from reads all settings from the clip: --preset and --config cannot be combined with it",
            hint="change single settings with their flags or `--set`",
        )
    changes = [set_layer(GenerateConfig, assignments), flag_layer(flags)]
    return plan_from_recipe(from_clip, changes, **rest)
