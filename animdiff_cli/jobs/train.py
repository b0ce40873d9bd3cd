"""Train: the Python API of `animdiff train-lora`, `train-adapter` and `train-motion`."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Unpack

import torch
import yaml

from animdiff_cli import paths
from animdiff_cli.config.keywords import TrainSettings
from animdiff_cli.config.layers import Layer, keyword_layer
from animdiff_cli.config.train_config import FREE_ON_RESUME
from animdiff_cli.core.choices import Stage
from animdiff_cli.core.events import Emit, Loading, Note, Prepared, Writing, Written, ignore
from animdiff_cli.core.prompt_travel import texts_of
from animdiff_cli.core.text import json_page
from animdiff_cli.diffusion.build import Components, load_components
from animdiff_cli.diffusion.conditions.sdxl import size_ids
from animdiff_cli.files.atomic import atomic_write_text, hidden_sibling
from animdiff_cli.files.hashing import sha256_of_files
from animdiff_cli.files.os_errors import readable_output_failures
from animdiff_cli.jobs.train_memory import offload_encoders, out_of_memory_while_training, set_up_memory
from animdiff_cli.jobs.train_plan import CONFIG_FILE, TrainPlan, plan_training
from animdiff_cli.jobs.train_report import SampleWriter, make_report, metadata_of, sample_prompts
from animdiff_cli.jobs.train_stages import TrainingModels, build_models, build_motion, shard_models
from animdiff_cli.training.checkpoint import CLIP_SETTINGS, Checkpoints, RunFingerprint, clips_digest
from animdiff_cli.training.cuda_graphs import check_cuda_graphs
from animdiff_cli.training.data.batches import BatchLoader
from animdiff_cli.training.data.dataset import ClipDataset, scan
from animdiff_cli.training.data.latents import LatentCache, sha256_of_module
from animdiff_cli.training.data.sample_schedule import SampleSchedule, positions_of
from animdiff_cli.training.data.texts import TextCache
from animdiff_cli.training.distributed import DistributedContext
from animdiff_cli.training.loop import Trainer
from animdiff_cli.training.metrics_log import MetricsLog, check_tensorboard
from animdiff_cli.training.objective import alphas_cumprod
from animdiff_cli.training.optimizer import Optimizer, check_8bit
from animdiff_cli.weights.files import write_tensors
from animdiff_cli.weights.folders import model_files


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The weights of a run and a report on it. Both exist in the main process only."""

    path: Path
    report: Mapping[str, Any]


def train(
    stage: Stage,
    videos: str | PathLike[str],
    *,
    device: str = "auto",
    overwrite: bool = False,
    emit: Emit = ignore,
    **settings: Unpack[TrainSettings],
) -> TrainResult:
    """Train weights on videos, or resume a run that stopped: the same arguments continue it.

    Args:
        stage: `motion-lora`, `domain-adapter` or `motion-module`.
        videos: Folder of videos, one video, a CSV or JSONL list, or shards as `{0000..0009}.tar`.
        device: `auto`, `cuda`, `cuda:N`, `mps` or `cpu`.
        overwrite: Start again instead of resuming.
        emit: Called with every progress event of `animdiff_cli.core.events`.
        settings: Fields of `TrainConfig`, such as `model`, `motion_module`, `steps`, `rank` and `out`, with the
            defaults of the stage. `data` is a mapping of the fields of `DataConfig`, such as `{"shot": "pan-right"}`.

    Returns:
        `path` of the weights and `report`, a mapping of settings, losses and measurements.

    Raises:
        AnimdiffError: `UsageError` for an unknown setting or value, unusable videos, or a folder that contains another
            run, `NotFound` for missing weights or videos, `DeviceError` if memory runs out or the loss overflows.
        KeyboardInterrupt: After an interrupt, when the checkpoint is saved.

    """
    layers = [keyword_layer(settings), Layer("videos", {"data.videos": fspath(videos)})]
    plan = plan_training(stage, layers, device=device)
    return run_training(plan, scan(plan.config.data, emit), emit, overwrite=overwrite)


def run_training(
    plan: TrainPlan,
    clips: ClipDataset,
    emit: Emit = ignore,
    *,
    distributed: DistributedContext | None = None,
    overwrite: bool = False,
) -> TrainResult:
    """Train, or resume a run that stopped. The same plan and clips give the same steps.

    Raises `UsageError` if the folder contains a run with other settings, `DeviceError` if memory runs out or the loss
    overflows, and `KeyboardInterrupt` after an interrupt, when the checkpoint is saved.
    """
    distributed = distributed or DistributedContext()
    emit = emit if distributed.is_main_process else ignore
    _check_settings(plan, distributed)
    motion = build_motion(plan, emit)
    emit(Loading(f"image model {plan.model.name}"))
    components = load_components(plan.model, plan.device)
    models = build_models(plan, components, motion)
    with distributed.process_group(plan.device.device):
        if distributed.fsdp and distributed.is_sharded:
            models = shard_models(models, plan.device.device, distributed.world_size, distributed.fsdp)
        checkpointing = set_up_memory(plan, clips, models, distributed, emit)
        with out_of_memory_while_training(plan, gradient_checkpointing=checkpointing):
            return _train(plan, clips, components, models, distributed, emit, overwrite=overwrite)


def _check_settings(plan: TrainPlan, distributed: DistributedContext) -> None:
    """Raise `UsageError` or `DeviceError` for settings that this machine or launcher does not support."""
    if distributed.fsdp:
        distributed.fsdp.check(plan.config)
    if plan.config.optimizer == "adamw8bit":
        check_8bit(plan.device.device)
    if plan.config.tensorboard:
        check_tensorboard()
    if plan.config.cuda_graph:
        check_cuda_graphs(plan.device.device, plan.device.torch_dtype)


def _train(
    plan: TrainPlan,
    clips: ClipDataset,
    components: Components,
    models: TrainingModels,
    distributed: DistributedContext,
    emit: Emit,
    *,
    overwrite: bool,
) -> TrainResult:
    trainer = _make_trainer(plan, clips, components, models, distributed, emit)
    if overwrite and distributed.is_main_process:
        trainer.checkpoints.clear()
    distributed.wait_for_everyone()
    start = trainer.resume()
    if start:
        emit(Note(f"resuming after step {start} of {plan.config.steps}"))
    if distributed.is_main_process:
        settings = plan.config.model_dump(mode="json")
        _write_text(plan.out / CONFIG_FILE, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
        _check_result(plan, clips, trainer.fingerprint)
    samples = SampleWriter.of(plan, clips, models, components, trainer.loader.texts.read, emit)
    _fill_caches(trainer, plan, clips, components, samples, start)
    offload_encoders(components)
    is_main = distributed.is_main_process
    log = MetricsLog(plan.out, resume_at=start, tensorboard=plan.config.tensorboard) if is_main else None
    try:
        trainer.train(log, start, samples)
    finally:
        if log:
            log.close()
    return _finish(trainer, plan, clips, models, samples, log)


def _make_trainer(
    plan: TrainPlan,
    clips: ClipDataset,
    components: Components,
    models: TrainingModels,
    distributed: DistributedContext,
    emit: Emit,
) -> Trainer:
    config, device = plan.config, plan.device.device
    folder = paths.cache_dir() / "training"
    loader = BatchLoader(
        clips=clips,
        schedule=_sample_schedule(plan, len(clips.items)),
        latents=LatentCache(folder / "latents", sha256_of_module(components.vae)),
        texts=TextCache.of(folder / "texts", components),
        scaling_factor=components.vae.config.scaling_factor,
        device=device,
        noise_offset=config.noise_offset,
        alphas_cumprod=alphas_cumprod(
            config.beta_schedule,
            beta_end=config.beta_end,
            rescale_betas_zero_snr=bool(config.rescale_betas_zero_snr),
        ),
        sizes=partial(size_ids, motion=models.motion),
    )
    return Trainer(
        config=config,
        stage=models.stage,
        loader=loader,
        optimizer=Optimizer(models.stage.groups, config, device, plan.device.torch_dtype),
        checkpoints=Checkpoints(plan.out / "checkpoints", config.keep),
        fingerprint=_fingerprint(plan, clips, distributed),
        distributed=distributed,
        sharded=models.sharded,
        emit=emit,
    )


def _sample_schedule(plan: TrainPlan, num_clips: int) -> SampleSchedule:
    config = plan.config
    has_spatial = config.stage == "motion-lora" and config.spatial_rank > 0
    return SampleSchedule(
        num_clips=num_clips,
        variants=config.variants,
        seed=config.seed,
        caption_dropout=config.caption_dropout,
        spatial_mask=config.spatial_mask if has_spatial else 0.0,
        first_timestep=config.first_timestep,
        from_noise=config.from_noise,
    )


def _fingerprint(plan: TrainPlan, clips: ClipDataset, distributed: DistributedContext) -> RunFingerprint:
    """Collect settings, clips and weights that decide the steps. The number of processes is not one of them."""
    config = plan.config
    free = FREE_ON_RESUME - ({"steps"} if config.lr_schedule == "cosine" else set())
    settings = config.model_dump(mode="json", exclude={*free, "data", "batch", "accumulation", "model"})
    root = plan.model if plan.model.is_dir() else plan.model.parent
    motion = plan.motion_module
    adapter = plan.domain_adapter
    return RunFingerprint(
        settings
        | {
            "dtype": plan.device.dtype,
            "samples per step": config.batch * config.accumulation * distributed.world_size,
            "clips": clips_digest([f"{item.key} {item.caption}" for item in clips.items]),
            CLIP_SETTINGS: config.data.model_dump(mode="json", exclude={"videos", "video_folder"}),
            "model": sha256_of_files(model_files(plan.model), root),
            "motion_module": sha256_of_files([motion], motion.parent) if motion else None,
            "network": plan.network.name,
            "domain_adapter": [sha256_of_files([adapter[0]], adapter[0].parent), adapter[1]] if adapter else None,
        }
    )


def _fill_caches(
    trainer: Trainer,
    plan: TrainPlan,
    clips: ClipDataset,
    components: Components,
    samples: SampleWriter,
    start: int,
) -> None:
    """Encode the clips and texts of the remaining steps and of the samples. Processes divide the clips."""
    config, distributed, emit = plan.config, trainer.distributed, trainer.emit
    if distributed.is_main_process:
        negatives = {text for settings in samples.settings for text in texts_of(settings.negative_prompt)}
        captions = [item.caption for item in clips.items]
        texts = [*captions, None, *sample_prompts(plan, clips), *sorted(negatives)]
        trainer.loader.texts.fill(texts, components, lambda message: emit(Note(message)))
    first, last = (
        next(iter(positions_of(step, 0, config.batch * distributed.world_size, config.accumulation)))
        for step in (start, config.steps)
    )
    pairs = trainer.loader.schedule.pairs(range(first, last))[distributed.rank :: distributed.world_size]
    trainer.loader.latents.fill(
        clips, pairs, components.vae, lambda done, total: emit(Prepared("latents", done, total))
    )
    distributed.wait_for_everyone()


def _check_result(plan: TrainPlan, clips: ClipDataset, fingerprint: RunFingerprint) -> None:
    """Write the result's metadata to a file beside it and remove that: a run must not fail after its last step."""
    report = make_report(plan, clips, [], fingerprint.values, None)
    with readable_output_failures(plan.result, "-o"):
        plan.result.is_file()  # raises if the name is too long
        with hidden_sibling(plan.result) as hidden:
            write_tensors({"test": torch.zeros(1)}, hidden, metadata_of(plan, report))
            hidden.write_text(json_page(report), encoding="utf-8")


def _finish(
    trainer: Trainer,
    plan: TrainPlan,
    clips: ClipDataset,
    models: TrainingModels,
    samples: SampleWriter,
    log: MetricsLog | None,
) -> TrainResult:
    report: dict[str, Any] = {}
    with trainer.result_weights():
        if log:
            report = make_report(plan, clips, log.rows, trainer.fingerprint.values, samples.measure_leak(clips))
            trainer.emit(Writing(plan.result))
            models.save(plan.result, metadata_of(plan, report))
    if log:
        _write_text(plan.out / "report.json", json_page(report))
        trainer.emit(Written(plan.result, plan.result.stat().st_size))
    trainer.distributed.wait_for_everyone()
    return TrainResult(plan.result, report)


def _write_text(path: Path, text: str) -> None:
    with readable_output_failures(path, "-o"):
        atomic_write_text(path, text)
