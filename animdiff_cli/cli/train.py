"""`animdiff train-lora`, `train-adapter` and `train-motion`: videos in, weights out."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animdiff_cli.cli import train_options as opt
from animdiff_cli.cli.options import ConfigOpt, JsonOpt, QuietOpt, SetOpt
from animdiff_cli.cli.out import print_json
from animdiff_cli.cli.progress import show_progress

if TYPE_CHECKING:
    from animdiff_cli.config.layers import Layer
    from animdiff_cli.core.choices import Stage
    from animdiff_cli.core.events import Emit
    from animdiff_cli.jobs.train_plan import TrainPlan

#: flag of a command → key of the settings, where they differ
KEYS = {
    **{name: f"data.{name}" for name in ("videos", "caption", "shot", "stride", "size", "fps", "limit")},
    "frames": "data.num_frames",
    "output": "out",
    "sample_prompt": "sample_prompts",
    "resume_from": "motion_module",
}
#: flags that are no settings of the run
BESIDE = ("config", "set_", "preview_data", "device", "overwrite", "dry_run", "json_", "quiet", "spatial_lora")


def train_lora(
    videos: opt.VideosOpt = None,
    caption: opt.CaptionOpt = None,
    shot: opt.ShotOpt = None,
    frames: opt.FramesOpt = None,
    stride: opt.StrideOpt = None,
    size: opt.SizeOpt = None,
    fps: opt.FpsOpt = None,
    limit: opt.LimitOpt = None,
    preview_data: opt.PreviewOpt = None,
    model: opt.ModelOpt = None,
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
    device: opt.DeviceOpt = "auto",
    dtype: opt.DtypeOpt = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    dry_run: opt.DryRunOpt = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Train a MotionLoRA: how things or the camera move in a few videos. Prints the path of the file.

    The same command goes on where a run was stopped. `generate --motion-lora FILE` uses the result.
    """
    _start("motion-lora", locals())


def train_adapter(
    videos: opt.VideosOpt = None,
    caption: opt.CaptionOpt = None,
    frames: opt.FramesOpt = None,
    stride: opt.StrideOpt = None,
    size: opt.SizeOpt = None,
    fps: opt.FpsOpt = None,
    limit: opt.LimitOpt = None,
    preview_data: opt.PreviewOpt = None,
    model: opt.ModelOpt = None,
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
    device: opt.DeviceOpt = "auto",
    dtype: opt.DtypeOpt = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    dry_run: opt.DryRunOpt = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Train a domain adapter: what the frames of a video collection look like (the paper's stage 1).

    The same command goes on where a run was stopped. `train-motion --domain-adapter FILE` is the next stage. With
    `--as-lora`, pictures of a style make a LoRA for `generate --lora`.
    """
    _start("domain-adapter", locals())


def train_motion(
    videos: opt.VideosOpt = None,
    caption: opt.CaptionOpt = None,
    frames: opt.FramesOpt = None,
    stride: opt.StrideOpt = None,
    size: opt.SizeOpt = None,
    fps: opt.FpsOpt = None,
    limit: opt.LimitOpt = None,
    preview_data: opt.PreviewOpt = None,
    model: opt.ModelOpt = None,
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
    device: opt.DeviceOpt = "auto",
    dtype: opt.DtypeOpt = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    dry_run: opt.DryRunOpt = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Train a motion module: how the world moves (the paper's stage 2), from zero or from a published module.

    The same command goes on where a run was stopped. `generate --motion-module FILE` uses the result.
    """
    _start("motion-module", locals())


def _start(stage: "Stage", given: Mapping[str, Any]) -> None:
    from animdiff_cli.jobs.train import run_training
    from animdiff_cli.jobs.train_plan import plan_training
    from animdiff_cli.training.data.dataset import scan
    from animdiff_cli.training.distributed import DistributedContext

    processes = DistributedContext.from_environment()
    plan = plan_training(stage, _layers(given), device=given["device"], local_rank=processes.local_rank)
    silent = given["quiet"] or given["json_"] or not processes.is_first
    with show_progress(quiet=silent) as emit:
        if given["preview_data"]:
            _preview(plan, given["preview_data"], emit)
            return
        clips = scan(plan.config.data, emit)
        if not given["dry_run"]:
            result = run_training(plan, clips, emit, processes=processes, overwrite=given["overwrite"])
    if not processes.is_first:
        return
    if given["dry_run"]:
        _tell(plan, len(clips), as_json=given["json_"], quiet=given["quiet"])
    elif given["json_"]:
        print_json({"output": str(result.path), **result.report})
    else:
        print(result.path)


def _layers(given: Mapping[str, Any]) -> list["Layer"]:
    """Read file, `--set` and flags, lowest first."""
    from animdiff_cli.config.layers import Layer
    from animdiff_cli.config.train_layers import assignment_layer, file_layer

    flags = {name: value for name, value in given.items() if value is not None and name not in BESIDE}
    values = {KEYS.get(name, name): value for name, value in flags.items()}
    spelled = {KEYS.get(name, name): f"--{name.replace('_', '-')}" for name in flags}
    if "seed" in flags:  # one number decides the clips and the noise
        values["data.seed"], spelled["data.seed"] = flags["seed"], "--seed"
    if given.get("spatial_lora") is False:
        values["spatial_rank"], spelled["spatial_rank"] = 0, "--no-spatial-lora"
    layers = [
        *([file_layer(given["config"])] if given["config"] else []),
        assignment_layer(given["set_"] or []),
        Layer("command line", values, spelled),
    ]
    return [layer for layer in layers if layer.values]


def _preview(plan: "TrainPlan", folder: Path, emit: "Emit") -> None:
    from animdiff_cli.training.data.dataset import scan
    from animdiff_cli.training.data.preview import preview

    for path in preview(scan(plan.config.data, emit), folder):
        print(path)


def _tell(plan: "TrainPlan", clips: int, *, as_json: bool, quiet: bool) -> None:
    """Print what would be trained: the file on stdout, in words on stderr."""
    if as_json:
        print_json({"output": str(plan.result), "clips": clips, "config": plan.config.model_dump(mode="json")})
        return
    print(plan.result)
    if not quiet:
        config = plan.config
        shape = f"{config.data.num_frames} frames, shorter side {config.data.size}"
        steps = f"{config.steps} steps of {config.batch * config.accumulation} on {plan.device.device}"
        print(f"would train a {config.stage} on {clips} videos ({shape}), {steps}", file=sys.stderr)
