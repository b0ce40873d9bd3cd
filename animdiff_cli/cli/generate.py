"""`animdiff generate`: prompts in, clips out."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
)
from animdiff_cli.cli.out import print_json
from animdiff_cli.cli.progress import watching
from animdiff_cli.core.choices import Dtype, Scheduler
from animdiff_cli.errors import UsageError

if TYPE_CHECKING:
    from animdiff_cli.core.events import Emit
    from animdiff_cli.jobs.generate import RenderPlan
    from animdiff_cli.jobs.targets import Targets


def _option(*names: str, help: str, panel: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **more)


def generate(
    prompt: Annotated[
        list[str] | None, _option("--prompt", "-p", help="What to see. Repeatable.", panel=SAMPLING)
    ] = None,
    negative: Annotated[str | None, _option("--negative", "-n", help="What to keep out.", panel=SAMPLING)] = None,
    model: Annotated[
        str | None, _option("--model", "-m", help="Image model: alias or diffusers folder.", panel=MODELS)
    ] = None,
    motion_module: Annotated[
        str | None, _option("--motion-module", help="Motion module: alias or file.", panel=MODELS)
    ] = None,
    no_motion: Annotated[bool, _option("--no-motion", help="Render still frames, to compare.", panel=MOTION)] = False,
    seed: Annotated[
        list[int] | None,
        _option("--seed", "-s", help="Any unsigned 64-bit integer. Repeatable.", panel=SAMPLING, min=0),
    ] = None,
    repeat: Annotated[int, _option("--repeat", help="Clips per prompt and seed.", panel=SAMPLING, min=1)] = 1,
    steps: Annotated[int | None, _option("--steps", help="Denoising steps.", panel=SAMPLING)] = None,
    guidance_scale: Annotated[
        float | None, _option("--guidance-scale", help="How closely to follow the prompt.", panel=SAMPLING)
    ] = None,
    scheduler: Annotated[Scheduler | None, _option("--scheduler", help="Sampler.", panel=SAMPLING)] = None,
    clip_skip: Annotated[
        int | None, _option("--clip-skip", help="Text-encoder layers to leave out.", panel=SAMPLING)
    ] = None,
    frames: Annotated[int | None, _option("--frames", "-L", help="Frames in the clip.", panel=MOTION)] = None,
    fps: Annotated[float | None, _option("--fps", help="Frames per second.", panel=MOTION)] = None,
    width: Annotated[int | None, _option("--width", "-W", help="Pixels, a multiple of 8.", panel=OUTPUT)] = None,
    height: Annotated[int | None, _option("--height", "-H", help="Pixels, a multiple of 8.", panel=OUTPUT)] = None,
    output: Annotated[
        str | None,
        _option(
            "--output",
            "-o",
            help="File, folder/, or template such as 'night/{slug}_{seed}.gif'.",
            panel=OUTPUT,
            metavar="PATH",
        ),
    ] = None,
    format: Annotated[
        list[str] | None,
        _option("--format", "-f", help="gif, mp4, webm, webp, apng or frames. Repeatable.", panel=OUTPUT),
    ] = None,
    overwrite: Annotated[bool, _option("--overwrite", help="Replace files that are there.", panel=OUTPUT)] = False,
    device: Annotated[
        str,
        _option("--device", help="auto, cuda, cuda:N, mps or cpu.", panel=DEVICE, envvar="ANIMDIFF_DEVICE"),
    ] = "auto",
    dtype: Annotated[Dtype | None, _option("--dtype", help="Number format of the weights.", panel=DEVICE)] = None,
    preset: PresetOpt = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    from_: Annotated[
        Path | None, _option("--from", help="Render the clip in this file again.", panel=SOURCES, metavar="FILE")
    ] = None,
    dry_run: Annotated[bool, _option("--dry-run", help="Say what would be rendered, and stop.", panel=SOURCES)] = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Render clips. Prints the path of each file written.

    Every prompt is rendered with every seed. A name that is taken gets -2, -3 and so on.
    """
    flags = {
        "negative_prompt": negative,
        "model": model,
        "motion_module": motion_module,
        "steps": steps,
        "guidance_scale": guidance_scale,
        "scheduler": scheduler,
        "clip_skip": clip_skip,
        "num_frames": frames,
        "fps": fps,
        "width": width,
        "height": height,
        "dtype": dtype,
    }
    given: dict[str, object] = {key: value for key, value in flags.items() if value is not None}
    if no_motion:
        if motion_module:
            raise UsageError("--no-motion and --motion-module contradict each other", hint="give one of them")
        given["motion_module"] = None
    plan = _plan(given, prompt, seed, repeat, device, preset, config, set_, from_)
    from animdiff_cli.jobs.targets import choose_targets

    targets = choose_targets(plan.configs, output, format or [], overwrite=overwrite)
    if dry_run:
        _tell(plan, targets, as_json=json_)
        return
    with watching(quiet=quiet or json_) as emit:
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
) -> "RenderPlan":
    from animdiff_cli.config.load import flag_layer, gather, set_layer
    from animdiff_cli.jobs.generate import plan_again, plan_renders

    if again is None:
        layers = gather(
            preset=preset, config_file=config, environ=os.environ, assignments=assignments or [], flags=flags
        )
        return plan_renders(layers, prompts=prompts or [], seeds=seeds or [], repeat=repeat, device=device)
    if preset or config:
        raise UsageError("--from brings all settings: --preset and --config have no place beside it")
    changes = [set_layer(assignments or []), flag_layer(flags)]
    return plan_again(again, changes, prompts=prompts or [], seeds=seeds or [], repeat=repeat, device=device)


def _render(plan: "RenderPlan", targets: "Targets", emit: "Emit", *, as_json: bool) -> None:
    from animdiff_cli.core.events import Writing
    from animdiff_cli.jobs.generate import render
    from animdiff_cli.outputs import write_clip

    began = time.monotonic()
    for rendered, files in zip(render(plan, emit), targets.files, strict=True):
        written = {}
        for format, path in files.items():
            emit(Writing(path))
            fps = rendered.recipe["config"]["fps"]
            written[format] = write_clip(
                rendered.frames, fps, path, format, rendered.recipe, overwrite=targets.overwrite
            )
            if not as_json:
                print(written[format], flush=True)
        if as_json:
            seconds = round(time.monotonic() - began, 2)
            print_json(
                {"outputs": {f: str(path) for f, path in written.items()}, "seconds": seconds, **rendered.recipe}
            )
        began = time.monotonic()


def _tell(plan: "RenderPlan", targets: "Targets", *, as_json: bool) -> None:
    """Print what would be rendered, one clip per line."""
    for config, files in zip(plan.configs, targets.files, strict=True):
        if as_json:
            outputs = {format: str(path) for format, path in files.items()}
            print_json(
                {"outputs": outputs, "device": str(plan.device.device), "config": config.model_dump(mode="json")}
            )
        else:
            print("\n".join(str(path) for path in files.values()))
