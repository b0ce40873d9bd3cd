"""`animdiff train-lora`, `train-adapter` and `train-motion`: train weights on videos."""

from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from animdiff_cli.cli import train_options as opt
from animdiff_cli.cli.options import ConfigOpt, DeviceOpt, JsonOpt, ModelOpt, QuietOpt, SetOpt, ThreadsOpt, given_flags
from animdiff_cli.cli.out import print_json, print_paths, print_summary
from animdiff_cli.core.text import counted

if TYPE_CHECKING:
    from animdiff_cli.config.layers import Layer
    from animdiff_cli.core.choices import Stage
    from animdiff_cli.core.events import Emit
    from animdiff_cli.jobs.train_plan import TrainPlan

#: parameters that are not the last word of the key they set; of several, the one the command has
PARAMETERS = {
    "data.num_frames": ("frames",),
    "out": ("output",),
    "sample_prompts": ("sample_prompt",),
    "motion_module": ("motion_module", "resume_from"),
}


def train_lora(
    ctx: typer.Context,
    videos: opt.VideosOpt = None,
    caption: opt.CaptionOpt = None,
    shot: opt.ShotOpt = None,
    frames: opt.FramesOpt = None,
    stride: opt.StrideOpt = None,
    size: opt.SizeOpt = None,
    fps: opt.FpsOpt = None,
    limit: opt.LimitOpt = None,
    preview_data: opt.PreviewOpt = None,
    model: ModelOpt = None,
    motion_module: opt.ModuleOpt = None,
    domain_adapter: opt.AdapterOpt = None,
    steps: opt.StepsOpt = None,
    lr: opt.LrOpt = None,
    rank: opt.RankOpt = None,
    batch: opt.BatchOpt = None,
    accumulation: opt.AccumulationOpt = None,
    optimizer: opt.OptimizerOpt = None,
    ema: opt.EmaOpt = None,
    spatial_lora: opt.SpatialOpt = None,
    gradient_checkpointing: opt.CheckpointingOpt = None,
    seed: opt.SeedOpt = None,
    sample_every: opt.SampleEveryOpt = None,
    sample_prompt: opt.SamplePromptOpt = None,
    save_every: opt.SaveEveryOpt = None,
    keep: opt.KeepOpt = None,
    tensorboard: opt.TensorboardOpt = None,
    output: opt.OutputOpt = None,
    format: opt.FormatOpt = None,
    overwrite: opt.OverwriteOpt = False,
    device: DeviceOpt = "auto",
    threads: ThreadsOpt = None,
    dtype: opt.DtypeOpt = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    dry_run: opt.DryRunOpt = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Train a MotionLoRA on a few videos of one motion and print the path of the file.

    Run the same command again to resume. Use the result with `generate --motion-lora FILE`.
    """
    _start("motion-lora", ctx)


def train_adapter(
    ctx: typer.Context,
    videos: opt.VideosOpt = None,
    caption: opt.CaptionOpt = None,
    frames: opt.FramesOpt = None,
    stride: opt.StrideOpt = None,
    size: opt.SizeOpt = None,
    fps: opt.FpsOpt = None,
    limit: opt.LimitOpt = None,
    preview_data: opt.PreviewOpt = None,
    model: ModelOpt = None,
    steps: opt.StepsOpt = None,
    lr: opt.LrOpt = None,
    rank: opt.RankOpt = None,
    batch: opt.BatchOpt = None,
    accumulation: opt.AccumulationOpt = None,
    optimizer: opt.OptimizerOpt = None,
    ema: opt.EmaOpt = None,
    gradient_checkpointing: opt.CheckpointingOpt = None,
    seed: opt.SeedOpt = None,
    sample_every: opt.SampleEveryOpt = None,
    sample_prompt: opt.SamplePromptOpt = None,
    save_every: opt.SaveEveryOpt = None,
    keep: opt.KeepOpt = None,
    tensorboard: opt.TensorboardOpt = None,
    output: opt.OutputOpt = None,
    as_lora: opt.AsLoraOpt = None,
    format: opt.FormatOpt = None,
    overwrite: opt.OverwriteOpt = False,
    device: DeviceOpt = "auto",
    threads: ThreadsOpt = None,
    dtype: opt.DtypeOpt = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    dry_run: opt.DryRunOpt = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Train a domain adapter on the frames of videos (stage 1 of the paper) and print the path of the file.

    Run the same command again to resume. The next stage is `train-motion --domain-adapter FILE`.

    With `--as-lora`, the result is an ordinary LoRA that learns a style from images.
    """
    _start("domain-adapter", ctx)


def train_motion(
    ctx: typer.Context,
    videos: opt.VideosOpt = None,
    caption: opt.CaptionOpt = None,
    frames: opt.FramesOpt = None,
    stride: opt.StrideOpt = None,
    size: opt.SizeOpt = None,
    fps: opt.FpsOpt = None,
    limit: opt.LimitOpt = None,
    preview_data: opt.PreviewOpt = None,
    model: ModelOpt = None,
    resume_from: opt.ResumeFromOpt = None,
    motion_version: opt.VersionOpt = None,
    domain_adapter: opt.AdapterOpt = None,
    steps: opt.StepsOpt = None,
    lr: opt.LrOpt = None,
    batch: opt.BatchOpt = None,
    accumulation: opt.AccumulationOpt = None,
    optimizer: opt.OptimizerOpt = None,
    ema: opt.EmaOpt = None,
    gradient_checkpointing: opt.CheckpointingOpt = None,
    seed: opt.SeedOpt = None,
    sample_every: opt.SampleEveryOpt = None,
    sample_prompt: opt.SamplePromptOpt = None,
    save_every: opt.SaveEveryOpt = None,
    keep: opt.KeepOpt = None,
    tensorboard: opt.TensorboardOpt = None,
    output: opt.OutputOpt = None,
    overwrite: opt.OverwriteOpt = False,
    device: DeviceOpt = "auto",
    threads: ThreadsOpt = None,
    dtype: opt.DtypeOpt = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    dry_run: opt.DryRunOpt = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Train a motion module on videos (stage 2 of the paper), from random weights or from a published module.

    Run the same command again to resume. Use the result with `generate --motion-module FILE`.
    """
    _start("motion-module", ctx)


def _start(stage: "Stage", ctx: typer.Context) -> None:
    from animdiff_cli.cli.progress import show_progress
    from animdiff_cli.jobs.train import run_training
    from animdiff_cli.jobs.train_plan import plan_training
    from animdiff_cli.training.data.dataset import scan
    from animdiff_cli.training.distributed import DistributedContext

    given = ctx.params
    distributed = DistributedContext.from_environment()
    plan = plan_training(stage, _layers(ctx), device=given["device"], local_rank=distributed.local_rank)
    silent = given["quiet"] or not distributed.is_main_process
    with show_progress(quiet=silent) as emit:
        if given["preview_data"]:
            _preview(plan, Path(given["preview_data"]), emit)
            return
        clips = scan(plan.config.data, emit)
        if not given["dry_run"]:
            result = run_training(plan, clips, emit, distributed=distributed, overwrite=given["overwrite"])
    if not distributed.is_main_process:
        return
    if given["dry_run"]:
        _print_plan(plan, len(clips), as_json=given["json_"], quiet=given["quiet"])
    elif given["json_"]:
        print_json({"output": str(result.path), **result.report})
    else:
        print_paths(result.path)


def _layers(ctx: typer.Context) -> list["Layer"]:
    """Read config file, `--set` and flags, lowest first."""
    from animdiff_cli.config.layers import Layer, set_layer, with_flags
    from animdiff_cli.config.train_config import TrainConfig
    from animdiff_cli.config.train_layers import file_layer

    config_file, assignments = ctx.params["config"], ctx.params["set_"]
    names = parameters(ctx.params)
    flags = given_flags(ctx, names)
    spelled = {key: f"--{names[key].replace('_', '-')}" for key in flags}
    if ctx.params.get("spatial_lora") is False:
        flags["spatial_rank"], spelled["spatial_rank"] = 0, "--no-spatial-lora"
    layers = [
        *([file_layer(Path(config_file))] if config_file else []),
        *with_flags(TrainConfig, set_layer(TrainConfig, assignments or []), Layer("command line", flags, spelled)),
    ]
    return [layer for layer in layers if layer.values]


def parameters(available: Container[str]) -> dict[str, str]:
    """Map each setting to the one of `available` that sets it, if any. `--seed` sets those of data and run."""
    from animdiff_cli.config.settings import settings_of
    from animdiff_cli.config.train_config import TrainConfig

    names = {key: PARAMETERS.get(key, (key.rpartition(".")[2],)) for key in settings_of(TrainConfig)}
    return {key: name for key, among in names.items() for name in among if name in available}


def _preview(plan: "TrainPlan", folder: Path, emit: "Emit") -> None:
    from animdiff_cli.training.data.dataset import scan
    from animdiff_cli.training.data.preview import preview

    print_paths(*preview(scan(plan.config.data, emit), folder))


def _print_plan(plan: "TrainPlan", clips: int, *, as_json: bool, quiet: bool) -> None:
    """Print what a run would train: the file on stdout, a summary on stderr."""
    if as_json:
        print_json({"output": str(plan.result), "clips": clips, "config": plan.config.model_dump(mode="json")})
        return
    print_paths(plan.result)
    if not quiet:
        config = plan.config
        shape = f"{counted(config.data.num_frames, 'frame')}, shorter side {config.data.size}"
        steps = f"{counted(config.steps, 'step')} of {config.batch * config.accumulation} on {plan.device.device}"
        print_summary(f"would train a {config.stage} on {counted(clips, 'video')} ({shape}), {steps}")
