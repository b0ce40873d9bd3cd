"""`animdiff generate`: render clips from prompts."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from animdiff_cli.cli import complete
from animdiff_cli.cli.downloads import download_progress
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
from animdiff_cli.cli.out import print_err, print_json, print_paths
from animdiff_cli.cli.progress import show_progress
from animdiff_cli.core.choices import Dtype, LoraAlphaMode, Scheduler
from animdiff_cli.core.formats import FORMATS
from animdiff_cli.errors import NotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from animdiff_cli.core.events import Emit
    from animdiff_cli.jobs.missing_weights import OnMissing
    from animdiff_cli.jobs.output_paths import OutputPaths
    from animdiff_cli.jobs.render import FinishedClip
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
    on_missing = _on_missing(
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
    plan, outputs = _without_done(plan, outputs, quiet=quiet, as_json=json_)
    if not plan.configs:
        return
    if dry_run:
        _print_plan(plan, outputs, online=bool(fetch), as_json=json_, quiet=quiet)
        return
    with show_progress(quiet=quiet) as emit:
        _render(plan, outputs, emit, quiet=quiet, as_json=json_)


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


def _on_missing(*, allowed: bool, dry_run: bool, ask: bool, quiet: bool, as_json: bool) -> "OnMissing":
    """Return the handler of missing weights: a dry run reports them, otherwise they are fetched or refused.

    `ask`: a recipe names them, which may be a stranger's, so they are fetched after a yes only.
    """

    def handle(names: "Sequence[str]") -> bool:
        from animdiff_cli.jobs.missing_weights import fetch_missing

        if dry_run and allowed:
            return False
        if ask and allowed:
            _confirm_fetch(names, can_ask=not as_json and sys.stdin.isatty() and sys.stderr.isatty())
        with download_progress(quiet=quiet) as emit:
            return fetch_missing(emit, allowed=allowed)(names)

    return handle


def _confirm_fetch(names: "Sequence[str]", *, can_ask: bool) -> None:
    """Ask whether to fetch what a recipe names. Raises `NotFound` after a no, or if nobody can be asked."""
    if can_ask:
        print_err("the recipe names weights that are not on this machine:")
        for line in _fetch_lines(_sizes(names, online=False)):
            print_err(f"  {line}")
        if typer.confirm("download them?", err=True):
            return
    raise NotFound(
        f"the recipe names weights that are not on this machine: {', '.join(f'`{name}`' for name in names)}",
        hint="to download them, add `--fetch`",
    )


def _without_done(
    plan: "RenderPlan", outputs: "OutputPaths", *, quiet: bool, as_json: bool
) -> "tuple[RenderPlan, OutputPaths]":
    """Print the files that exist already, and return the plan of the clips that are left."""
    done = [(config, files) for config, files in zip(plan.configs, outputs.done, strict=True) if files]
    for config, files in done:
        paths = {format: str(path) for format, path in files.items()}
        if as_json:
            print_json({"outputs": paths, "skipped": True, "config": config.model_dump(mode="json")})
        else:
            print_paths(*paths.values())
    if done and not quiet:
        print_err(f"{len(done)} of {len(plan.configs)} clips exist already")
    left = [(config, files) for config, files in zip(plan.configs, outputs.files, strict=True) if files]
    return (
        replace(plan, configs=tuple(config for config, _ in left)),
        replace(outputs, files=tuple(files for _, files in left), done=()),
    )


def _render(plan: "RenderPlan", outputs: "OutputPaths", emit: "Emit", *, quiet: bool, as_json: bool) -> None:
    from animdiff_cli.jobs.render import render_to_files

    kept = 0
    try:
        for clip in render_to_files(plan, outputs, emit):
            _print_clip(clip, as_json=as_json)
            kept += 1
    except KeyboardInterrupt:
        if not quiet:
            print_err(*_interrupted(kept, plan))
        raise


def _interrupted(kept: int, plan: "RenderPlan") -> list[str]:
    """Say what is kept after Ctrl-C, and what to type to render the rest."""
    lines = [f"interrupted: {kept} of {len(plan.configs)} clips are finished and kept"]
    if kept and not plan.seeds_drawn:
        lines.append("hint: to render the rest, run the same command with `--skip-existing`")
    return lines


def _print_clip(clip: "FinishedClip", *, as_json: bool) -> None:
    paths = {format: str(path) for format, path in clip.files.items()}
    if as_json:
        print_json({"outputs": paths, "seconds": round(clip.seconds, 2), "notes": clip.notes, **clip.recipe})
    else:
        print_paths(*paths.values())


def _print_plan(plan: "RenderPlan", outputs: "OutputPaths", *, online: bool, as_json: bool, quiet: bool) -> None:
    """Print what a dry run would render: the files on stdout, a summary on stderr.

    `online`: request the sizes of missing weights that the catalog does not have.
    """
    missing = _sizes(plan.missing, online=online)
    for config, files in zip(plan.configs, outputs.files, strict=True):
        paths = {format: str(path) for format, path in files.items()}
        if as_json:
            settings = config.model_dump(mode="json")
            print_json({"outputs": paths, "device": str(plan.device.device), "fetch": missing, "config": settings})
        else:
            print_paths(*paths.values())
    if not quiet:
        for line in _fetch_lines(missing):
            print_err(f"would fetch {line}")
        for note in plan.notes:
            print_err(f"note: {note}")
        print_err(f"would render {_summary(plan)}")


def _sizes(names: "Sequence[str]", *, online: bool) -> list[dict[str, Any]]:
    """List weights with their sizes, where known."""
    if not names:
        return []
    from animdiff_cli.jobs.fetch import plan_fetch

    return [
        {"ref": planned.item.name, "bytes": planned.size} for planned in plan_fetch(names, offline=not online).items
    ]


def _fetch_lines(sizes: list[dict[str, Any]]) -> list[str]:
    from animdiff_cli.fetch.disk import format_bytes

    return [
        f"{item['ref']}, {'of unknown size' if item['bytes'] is None else format_bytes(item['bytes'])}"
        for item in sizes
    ]


def _summary(plan: "RenderPlan") -> str:
    from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS

    config = plan.configs[0]
    clips = f"{len(plan.configs)} clip{'s' if len(plan.configs) > 1 else ''}"
    motion = f"{config.model} with {config.motion_module}" if config.motion_module else f"{config.model} without motion"
    size = f"{config.num_frames} frames of {config.width}x{config.height}"
    added = [
        f", {setting.label} {name}"
        for key, setting in WEIGHT_SETTINGS.items()
        if setting.label
        for name in (getattr(config, key) if setting.is_list else [getattr(config, key)])
        if name
    ]
    return (
        f"{clips} of {size}: {motion}{''.join(added)}, {config.steps} steps of {config.scheduler}, {plan.device.device}"
    )
