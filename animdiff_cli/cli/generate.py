"""`animdiff generate`: render clips from prompts."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from animdiff_cli.cli import complete
from animdiff_cli.cli.missing_weights import on_missing_weights
from animdiff_cli.cli.options import (
    DEVICE,
    MODELS,
    MOTION,
    OUTPUT,
    SAMPLING,
    SOURCES,
    ConfigOpt,
    DeviceOpt,
    JsonOpt,
    PresetOpt,
    QuietOpt,
    SetOpt,
    ThreadsOpt,
    given_flags,
    option,
)
from animdiff_cli.cli.progress import show_progress
from animdiff_cli.cli.render_output import print_plan, render_clips, without_done
from animdiff_cli.core.choices import Dtype, LoraAlphaMode, Scheduler
from animdiff_cli.core.formats import FORMATS
from animdiff_cli.errors import UsageError

if TYPE_CHECKING:
    from animdiff_cli.jobs.render_plan import RenderPlan

SCALED = "<ref[@scale]>"
SCHEDULERS = get_args(Scheduler)


def generate(
    ctx: typer.Context,
    model: Annotated[
        str | None,
        option(
            "--model",
            "-m",
            help="Image model: alias, checkpoint file or diffusers folder.",
            panel=MODELS,
            autocompletion=complete.models("base"),
            metavar="<ref>",
        ),
    ] = None,
    motion_module: Annotated[
        str | None,
        option(
            "--motion-module",
            help="Motion module: alias or file.",
            panel=MODELS,
            autocompletion=complete.models("motion-module"),
            metavar="<ref>",
        ),
    ] = None,
    motion_lora: Annotated[
        list[str] | None,
        option(
            "--motion-lora",
            help="MotionLoRA, for example zoom-in@0.8. Repeatable.",
            panel=MODELS,
            autocompletion=complete.models("motion-lora"),
            metavar=SCALED,
        ),
    ] = None,
    lora: Annotated[
        list[str] | None,
        option(
            "--lora",
            help="LoRA of the image model. Repeatable.",
            panel=MODELS,
            autocompletion=complete.models("lora"),
            metavar=SCALED,
        ),
    ] = None,
    lora_alpha_mode: Annotated[
        LoraAlphaMode | None,
        option(
            "--lora-alpha-mode",
            help="`alpha`: use the LoRA's own value. `official`: ignore it, as the original code does.",
            panel=MODELS,
        ),
    ] = None,
    domain_adapter: Annotated[
        str | None,
        option(
            "--domain-adapter",
            help="Domain adapter of the motion module.",
            panel=MODELS,
            autocompletion=complete.models("domain-adapter"),
            metavar=SCALED,
        ),
    ] = None,
    vae: Annotated[
        str | None,
        option(
            "--vae",
            help="VAE to use instead of the model's own.",
            panel=MODELS,
            autocompletion=complete.models("vae"),
            metavar="<ref>",
        ),
    ] = None,
    embedding: Annotated[
        list[str] | None,
        option(
            "--embedding",
            help="Textual inversion; its file name is its token in prompts. Repeatable.",
            panel=MODELS,
            autocompletion=complete.models("embedding"),
            metavar="<ref>",
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        option("--prompt", "-p", help="Text prompt. Repeatable.", panel=SAMPLING, metavar="<text>"),
    ] = None,
    negative: Annotated[
        str | None, option("--negative", "-n", help="Negative prompt.", panel=SAMPLING, metavar="<text>")
    ] = None,
    seed: Annotated[
        list[int] | None,
        option(
            "--seed",
            "-s",
            help="Seed, an unsigned 64-bit integer; random by default. Repeatable.",
            panel=SAMPLING,
            metavar="<int>",
        ),
    ] = None,
    repeat: Annotated[
        int, option("--repeat", help="Number of clips per prompt and seed.", panel=SAMPLING, metavar="<int>")
    ] = 1,
    steps: Annotated[int | None, option("--steps", help="Denoising steps.", panel=SAMPLING)] = None,
    guidance_scale: Annotated[
        float | None,
        option("--guidance-scale", help="Classifier-free guidance scale; 1 turns guidance off.", panel=SAMPLING),
    ] = None,
    scheduler: Annotated[
        str | None,
        option(
            "--scheduler",
            help=f"Scheduler: {', '.join(SCHEDULERS)}.",
            panel=SAMPLING,
            autocompletion=complete.schedulers,
            metavar="<name>",
        ),
    ] = None,
    clip_skip: Annotated[
        int | None, option("--clip-skip", help="Number of last text-encoder layers to skip.", panel=SAMPLING)
    ] = None,
    frames: Annotated[int | None, option("--frames", "-L", help="Number of frames.", panel=MOTION)] = None,
    fps: Annotated[float | None, option("--fps", help="Frames per second.", panel=MOTION)] = None,
    no_motion: Annotated[
        bool, option("--no-motion", help="Render still frames without a motion module.", panel=MOTION)
    ] = False,
    width: Annotated[
        int | None, option("--width", "-W", help="Width in pixels, a multiple of 8.", panel=OUTPUT)
    ] = None,
    height: Annotated[
        int | None, option("--height", "-H", help="Height in pixels, a multiple of 8.", panel=OUTPUT)
    ] = None,
    output: Annotated[
        str | None,
        option(
            "--output",
            "-o",
            help="File, folder/, or template such as 'night/{slug}_{seed}.gif'.",
            panel=OUTPUT,
            metavar="<path>",
        ),
    ] = None,
    format: Annotated[
        list[str] | None,
        option(
            "--format",
            "-f",
            help=f"{', '.join(FORMATS)}. Repeatable.",
            panel=OUTPUT,
            autocompletion=complete.formats,
            metavar="<name>",
        ),
    ] = None,
    overwrite: Annotated[bool, option("--overwrite", help="Overwrite existing files.", panel=OUTPUT)] = False,
    skip_existing: Annotated[
        bool,
        option(
            "--skip-existing",
            help="Skip clips that exist with the same recipe. The default name has a date: set `--output` to resume on"
            " another day.",
            panel=OUTPUT,
        ),
    ] = False,
    device: DeviceOpt = "auto",
    threads: ThreadsOpt = None,
    dtype: Annotated[Dtype | None, option("--dtype", help="Precision of the weights.", panel=DEVICE)] = None,
    preset: PresetOpt = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    from_: Annotated[
        Path | None,
        option("--from", help="Render a clip again from its embedded recipe.", panel=SOURCES, metavar="<file>"),
    ] = None,
    offline: Annotated[bool, option("--offline", help="Use only files on this machine.", panel=SOURCES)] = False,
    fetch: Annotated[
        bool | None,
        option(
            "--fetch/--no-fetch",
            help="Download missing weights without asking, or not at all. Default: download; with `--from`, ask.",
            panel=SOURCES,
        ),
    ] = None,
    dry_run: Annotated[bool, option("--dry-run", help="Print what would be rendered and exit.", panel=SOURCES)] = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Render clips and print the path of each file.

    Every prompt is rendered with every seed. If a file exists, -2, -3 and so on is added to the name.
    """
    from animdiff_cli.config.load import flag_names

    _check_prompts(prompt or [])
    given = given_flags(ctx, flag_names())
    if no_motion:
        if motion_module:
            raise UsageError("--no-motion and --motion-module cannot be combined", hint="use one of them")
        given["motion_module"] = None
    if offline and fetch:
        raise UsageError("--offline and --fetch cannot be combined", hint="use one of them")
    allowed = fetch is not False and not offline
    on_missing = on_missing_weights(
        allowed=allowed, dry_run=dry_run, ask=from_ is not None and not fetch, quiet=quiet, as_json=json_
    )
    jobs = {"prompts": prompt or [], "seeds": seed or [], "repeat": repeat}
    plan = _plan(given, preset, config, set_ or [], from_, **jobs, device=device, on_missing=on_missing)
    from animdiff_cli.jobs.output_paths import choose_output_paths

    is_done = None
    if skip_existing:
        from animdiff_cli.jobs.skip_existing import rendered_before

        is_done = rendered_before(plan)
    outputs = choose_output_paths(plan.configs, output, format or [], overwrite=overwrite, is_done=is_done)
    plan, outputs = without_done(plan, outputs, quiet=quiet, as_json=json_)
    if not plan.configs:
        return
    if dry_run:
        print_plan(plan, outputs, online=bool(fetch), as_json=json_, quiet=quiet)
        return
    with show_progress(quiet=quiet) as emit:
        render_clips(plan, outputs, emit, quiet=quiet, as_json=json_)


def _check_prompts(prompts: list[str]) -> None:
    """Raise `UsageError` for an empty prompt, which is often an unset shell variable, and for `-`."""
    for prompt in prompts:
        if not prompt.strip():
            raise UsageError("--prompt is empty", hint="to render without a prompt, type `--set prompt=`")
        if prompt.strip() == "-":
            raise UsageError("--prompt does not read stdin", hint='type `--prompt "$(cat)"`')


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
    from animdiff_cli.jobs.render_plan import plan_from_recipe, plan_renders

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
