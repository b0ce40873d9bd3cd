"""`animdiff generate`: prompts in, clips out."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from animdiff_cli.cli.downloads import download_progress
from animdiff_cli.cli.options import (
    DEVICE,
    MODELS,
    MOTION,
    OUTPUT,
    SAMPLING,
    SOURCES,
    ConfigOpt,
    JsonOpt,
    PresetOpt,
    QuietOpt,
    SetOpt,
    given_flags,
)
from animdiff_cli.cli.out import print_json
from animdiff_cli.cli.progress import show_progress
from animdiff_cli.core.choices import Dtype, LoraAlphaMode, Scheduler
from animdiff_cli.core.formats import FORMATS
from animdiff_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from animdiff_cli.core.events import Emit
    from animdiff_cli.jobs.generate import RenderPlan
    from animdiff_cli.jobs.missing_weights import OnAbsent
    from animdiff_cli.jobs.output_paths import OutputPaths

SCALED = "<ref[@scale]>"
SCHEDULERS = get_args(Scheduler)


def _option(*names: str, help: str, panel: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **more)


def generate(
    ctx: typer.Context,
    model: Annotated[
        str | None,
        _option("--model", "-m", help="Image model: alias, file or folder.", panel=MODELS, metavar="<ref>"),
    ] = None,
    motion_module: Annotated[
        str | None, _option("--motion-module", help="Motion module: alias or file.", panel=MODELS, metavar="<ref>")
    ] = None,
    motion_lora: Annotated[
        list[str] | None,
        _option("--motion-lora", help="MotionLoRA, such as zoom-in@0.8. Repeatable.", panel=MODELS, metavar=SCALED),
    ] = None,
    lora: Annotated[
        list[str] | None,
        _option("--lora", help="LoRA on the image model. Repeatable.", panel=MODELS, metavar=SCALED),
    ] = None,
    lora_alpha_mode: Annotated[
        LoraAlphaMode | None,
        _option("--lora-alpha-mode", help="Count a LoRA's own alpha, or not, as the official program.", panel=MODELS),
    ] = None,
    domain_adapter: Annotated[
        str | None,
        _option("--domain-adapter", help="Look of the motion module's training clips.", panel=MODELS, metavar=SCALED),
    ] = None,
    vae: Annotated[
        str | None, _option("--vae", help="Image decoder in place of the model's.", panel=MODELS, metavar="<ref>")
    ] = None,
    embedding: Annotated[
        list[str] | None,
        _option(
            "--embedding",
            help="Textual inversion; its file's name is a word for the prompt. Repeatable.",
            panel=MODELS,
            metavar="<ref>",
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        _option("--prompt", "-p", help="What to see. Repeatable.", panel=SAMPLING, metavar="<text>"),
    ] = None,
    negative: Annotated[
        str | None, _option("--negative", "-n", help="What to keep out.", panel=SAMPLING, metavar="<text>")
    ] = None,
    seed: Annotated[
        list[int] | None,
        _option("--seed", "-s", help="Any unsigned 64-bit integer. Repeatable.", panel=SAMPLING, metavar="<int>"),
    ] = None,
    repeat: Annotated[int, _option("--repeat", help="Clips per prompt and seed.", panel=SAMPLING, metavar="<int>")] = 1,
    steps: Annotated[int | None, _option("--steps", help="Denoising steps.", panel=SAMPLING)] = None,
    guidance_scale: Annotated[
        float | None,
        _option("--guidance-scale", help="How closely to follow the prompt; 1 is off.", panel=SAMPLING),
    ] = None,
    scheduler: Annotated[
        str | None,
        _option("--scheduler", help=f"Sampler: {', '.join(SCHEDULERS)}.", panel=SAMPLING, metavar="<name>"),
    ] = None,
    clip_skip: Annotated[
        int | None, _option("--clip-skip", help="Text-encoder layers to leave out.", panel=SAMPLING)
    ] = None,
    frames: Annotated[int | None, _option("--frames", "-L", help="Frames in the clip.", panel=MOTION)] = None,
    fps: Annotated[float | None, _option("--fps", help="Frames per second.", panel=MOTION)] = None,
    no_motion: Annotated[bool, _option("--no-motion", help="Render still frames, to compare.", panel=MOTION)] = False,
    width: Annotated[int | None, _option("--width", "-W", help="Pixels, a multiple of 8.", panel=OUTPUT)] = None,
    height: Annotated[int | None, _option("--height", "-H", help="Pixels, a multiple of 8.", panel=OUTPUT)] = None,
    output: Annotated[
        str | None,
        _option(
            "--output",
            "-o",
            help="File, folder/, or template such as 'night/{slug}_{seed}.gif'.",
            panel=OUTPUT,
            metavar="<path>",
        ),
    ] = None,
    format: Annotated[
        list[str] | None,
        _option("--format", "-f", help=f"{', '.join(FORMATS)}. Repeatable.", panel=OUTPUT, metavar="<name>"),
    ] = None,
    overwrite: Annotated[bool, _option("--overwrite", help="Replace files that are there.", panel=OUTPUT)] = False,
    device: Annotated[
        str,
        _option(
            "--device",
            help="auto, cuda, cuda:N, mps or cpu.",
            panel=DEVICE,
            envvar="ANIMDIFF_DEVICE",
            metavar="<name>",
        ),
    ] = "auto",
    dtype: Annotated[Dtype | None, _option("--dtype", help="Number format of the weights.", panel=DEVICE)] = None,
    preset: PresetOpt = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    from_: Annotated[
        Path | None, _option("--from", help="Render the clip in this file again.", panel=SOURCES, metavar="<file>")
    ] = None,
    offline: Annotated[bool, _option("--offline", help="Use only what is on this machine.", panel=SOURCES)] = False,
    no_fetch: Annotated[
        bool, _option("--no-fetch", help="Do not download weights that are missing.", panel=SOURCES)
    ] = False,
    dry_run: Annotated[bool, _option("--dry-run", help="Say what would be rendered, and stop.", panel=SOURCES)] = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Render clips. Prints the path of each file written.

    Every prompt is rendered with every seed. A name that is taken gets -2, -3 and so on.
    """
    from animdiff_cli.config.load import flag_names

    given = given_flags(ctx, flag_names())
    if no_motion:
        if motion_module:
            raise UsageError("--no-motion and --motion-module contradict each other", hint="give one of them")
        given["motion_module"] = None
    on_absent = _on_absent(allowed=not (offline or no_fetch), dry_run=dry_run, quiet=quiet or json_)
    jobs = {"prompts": prompt or [], "seeds": seed or [], "repeat": repeat}
    plan = _plan(given, preset, config, set_ or [], from_, **jobs, device=device, on_absent=on_absent)
    from animdiff_cli.jobs.output_paths import choose_output_paths

    outputs = choose_output_paths(plan.configs, output, format or [], overwrite=overwrite)
    if dry_run:
        _print_plan(plan, outputs, as_json=json_, quiet=quiet)
        return
    with show_progress(quiet=quiet or json_) as emit:
        _render(plan, outputs, emit, as_json=json_)


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


def _on_absent(*, allowed: bool, dry_run: bool, quiet: bool) -> "OnAbsent":
    """Return the handler of missing weights: a dry run reports them, otherwise they are fetched or refused."""

    def handle(names: "Sequence[str]") -> bool:
        from animdiff_cli.jobs.missing_weights import fetch_absent

        if dry_run and allowed:
            return False
        with download_progress(quiet=quiet) as emit:
            return fetch_absent(emit, allowed=allowed)(names)

    return handle


def _render(plan: "RenderPlan", outputs: "OutputPaths", emit: "Emit", *, as_json: bool) -> None:
    from animdiff_cli.jobs.render import render_to_files

    for clip in render_to_files(plan, outputs, emit):
        paths = {format: str(path) for format, path in clip.files.items()}
        if as_json:
            print_json({"outputs": paths, "seconds": round(clip.seconds, 2), "notes": clip.notes, **clip.recipe})
        else:
            print("\n".join(paths.values()), flush=True)


def _print_plan(plan: "RenderPlan", outputs: "OutputPaths", *, as_json: bool, quiet: bool) -> None:
    """Print what a dry run would render: the files on stdout, a summary on stderr."""
    absent = _would_fetch(plan)
    for config, files in zip(plan.configs, outputs.files, strict=True):
        paths = {format: str(path) for format, path in files.items()}
        if as_json:
            settings = config.model_dump(mode="json")
            print_json({"outputs": paths, "device": str(plan.device.device), "fetch": absent, "config": settings})
        else:
            print("\n".join(paths.values()))
    if not (as_json or quiet):
        for item in absent:
            from animdiff_cli.fetch.disk import format_bytes

            size = "of unknown size" if item["bytes"] is None else format_bytes(item["bytes"])
            print(f"would fetch {item['ref']}, {size}", file=sys.stderr)
        print(f"would render {_summary(plan)}", file=sys.stderr)


def _would_fetch(plan: "RenderPlan") -> list[dict[str, Any]]:
    """List the missing weights with their sizes, where known."""
    if not plan.absent:
        return []
    from animdiff_cli.jobs.fetch import plan_fetch

    return [{"ref": planned.item.name, "bytes": planned.size} for planned in plan_fetch(plan.absent).items]


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
