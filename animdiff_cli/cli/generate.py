"""`animdiff generate`: prompts in, clips out."""

import os
import sys
import time
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
from animdiff_cli.core.events import Note, Writing, Written
from animdiff_cli.core.formats import FORMATS, Format
from animdiff_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from animdiff_cli.config.schema import GenerateConfig
    from animdiff_cli.core.events import Emit, Event
    from animdiff_cli.jobs.animator import Rendered
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
    plan = _plan(given, prompt, seed, repeat, device, preset, config, set_, from_, on_absent)
    from animdiff_cli.jobs.output_paths import choose_output_paths

    targets = choose_output_paths(plan.configs, output, format or [], overwrite=overwrite)
    if dry_run:
        _tell(plan, targets, as_json=json_, quiet=quiet)
        return
    with show_progress(quiet=quiet or json_) as emit:
        _render(plan, targets, emit, as_json=json_)


def _plan(
    flags: dict[str, object],
    prompts: list[str] | None,
    seeds: list[int] | None,
    repeat: int,
    device: str,
    preset: str | None,
    config: Path | None,
    assignments: list[str] | None,
    again: Path | None,
    on_absent: "OnAbsent",
) -> "RenderPlan":
    from animdiff_cli.config.layers import set_layer
    from animdiff_cli.config.load import flag_layer, gather
    from animdiff_cli.config.schema import GenerateConfig
    from animdiff_cli.jobs.generate import plan_from_recipe, plan_renders

    rest: dict[str, Any] = {
        "prompts": prompts or [],
        "seeds": seeds or [],
        "repeat": repeat,
        "device": device,
        "on_absent": on_absent,
    }
    if again is None:
        layers = gather(
            preset=preset, config_file=config, environ=os.environ, assignments=assignments or [], flags=flags
        )
        return plan_renders(layers, **rest)
    if preset or config:
        raise UsageError("--from brings all settings: --preset and --config have no place beside it")
    changes = [set_layer(GenerateConfig, assignments or []), flag_layer(flags)]
    return plan_from_recipe(again, changes, **rest)


def _on_absent(*, allowed: bool, dry_run: bool, quiet: bool) -> "OnAbsent":
    """Decide what becomes of weights that are not here: fetched with bars, refused, or told by a dry run."""

    def answer(names: "Sequence[str]") -> bool:
        from animdiff_cli.jobs.missing_weights import fetch_absent

        if dry_run and allowed:
            return False
        with download_progress(quiet=quiet) as emit:
            return fetch_absent(emit, allowed=allowed)(names)

    return answer


def _render(plan: "RenderPlan", targets: "OutputPaths", emit: "Emit", *, as_json: bool) -> None:
    from animdiff_cli.jobs.generate import render

    notes: list[str] = []
    began = time.monotonic()
    for rendered, files in zip(render(plan, _noting(emit, notes)), targets.files, strict=True):
        outputs = {}
        for format, path in files.items():
            outputs[format] = _write(rendered, format, path, emit, overwrite=targets.overwrite)
            if not as_json:
                print(outputs[format], flush=True)
        if as_json:
            seconds = round(time.monotonic() - began, 2)
            paths = {format: str(path) for format, path in outputs.items()}
            print_json({"outputs": paths, "seconds": seconds, "notes": notes, **rendered.recipe})
        notes.clear()
        began = time.monotonic()


def _write(rendered: "Rendered", format: Format, path: Path, emit: "Emit", *, overwrite: bool) -> Path:
    from animdiff_cli.outputs import write_clip

    emit(Writing(path))
    fps = rendered.recipe["config"]["fps"]
    written = write_clip(rendered.frames, fps, path, format, rendered.recipe, overwrite=overwrite)
    emit(Written(written, written.stat().st_size))
    return written


def _noting(emit: "Emit", notes: list[str]) -> "Emit":
    """Pass events on, each note once, and keep in `notes` what a clip's record says with `--json`."""
    said: set[str] = set()

    def watch(event: "Event") -> None:
        if isinstance(event, Note):
            notes.append(event.message)
            if event.message in said:
                return
            said.add(event.message)
        emit(event)

    return watch


def _tell(plan: "RenderPlan", targets: "OutputPaths", *, as_json: bool, quiet: bool) -> None:
    """Print what would be rendered: the files on stdout, in words on stderr."""
    absent = _would_fetch(plan)
    for config, files in zip(plan.configs, targets.files, strict=True):
        if as_json:
            outputs = {format: str(path) for format, path in files.items()}
            settings = config.model_dump(mode="json")
            print_json({"outputs": outputs, "device": str(plan.device.device), "fetch": absent, "config": settings})
        else:
            print("\n".join(str(path) for path in files.values()))
    if not (as_json or quiet):
        for item in absent:
            from animdiff_cli.fetch.disk import format_bytes

            size = "of unknown size" if item["bytes"] is None else format_bytes(item["bytes"])
            print(f"would fetch {item['ref']}, {size}", file=sys.stderr)
        print(f"would render {_in_words(plan)}", file=sys.stderr)


def _would_fetch(plan: "RenderPlan") -> list[dict[str, Any]]:
    """List what is absent with its size, where that is known or can be asked for."""
    if not plan.absent:
        return []
    from animdiff_cli.jobs.fetch import plan_fetch

    return [{"ref": planned.item.name, "bytes": planned.size} for planned in plan_fetch(plan.absent).items]


def _in_words(plan: "RenderPlan") -> str:
    config = plan.configs[0]
    clips = f"{len(plan.configs)} clip{'s' if len(plan.configs) > 1 else ''}"
    motion = f"{config.model} with {config.motion_module}" if config.motion_module else f"{config.model} without motion"
    size = f"{config.num_frames} frames of {config.width}x{config.height}"
    changed = "".join(f", {word} {name}" for word, names in _laid_over(config) for name in names)
    return f"{clips} of {size}: {motion}{changed}, {config.steps} steps of {config.scheduler}, {plan.device.device}"


def _laid_over(config: "GenerateConfig") -> list[tuple[str, tuple[str, ...]]]:
    """List by kind what is laid over model and motion module."""
    single = {"domain adapter": config.domain_adapter, "VAE": config.vae}
    several = [("MotionLoRA", config.motion_loras), ("LoRA", config.loras), ("embedding", config.embeddings)]
    return [*several, *((word, (name,)) for word, name in single.items() if name)]
