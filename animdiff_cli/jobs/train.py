"""Train: what `animdiff train-lora`, `train-adapter` and `train-motion` do, callable from Python."""

import gc
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from animdiff_cli import paths
from animdiff_cli.config.train_config import FREE_ON_RESUME
from animdiff_cli.core.events import Emit, Loading, Note, Prepared, Writing, Written, ignore
from animdiff_cli.diffusion.build import Components, load_components, model_files
from animdiff_cli.diffusion.conditions.sdxl import size_ids
from animdiff_cli.diffusion.memory import is_out_of_memory
from animdiff_cli.errors import DeviceError
from animdiff_cli.files.atomic import atomic_write_text
from animdiff_cli.files.hashing import sha256_of_files
from animdiff_cli.files.os_errors import readable_output_failures
from animdiff_cli.jobs.train_plan import CONFIG_FILE, TrainPlan
from animdiff_cli.jobs.train_report import Gallery, make_report, metadata_of, open_gallery, prompts_of
from animdiff_cli.jobs.train_stages import Built, build_motion, build_stage, sharded
from animdiff_cli.training.checkpoint import Checkpoints, Identity, clips_digest
from animdiff_cli.training.cuda_graphs import check_graphs
from animdiff_cli.training.data.batches import BatchLoader
from animdiff_cli.training.data.dataset import ClipDataset
from animdiff_cli.training.data.latents import LatentCache, sha256_of_module
from animdiff_cli.training.data.sample_schedule import SampleSchedule, positions_of
from animdiff_cli.training.data.texts import TextCache
from animdiff_cli.training.distributed import DistributedContext
from animdiff_cli.training.estimate import estimate, free_bytes, remedies
from animdiff_cli.training.gradient_checkpointing import enable_gradient_checkpointing
from animdiff_cli.training.journal import Journal, check_tensorboard
from animdiff_cli.training.loop import Run, resume
from animdiff_cli.training.objective import alphas_cumprod
from animdiff_cli.training.optimizer import Optimizer, check_8bit

#: activations are recomputed where keeping them would take more than this share of what is free
COMFORTABLE = 0.5


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run left: the weights, and a report on them. Both belong to the first process."""

    path: Path
    report: Mapping[str, Any]


def run_training(
    plan: TrainPlan,
    clips: ClipDataset,
    emit: Emit = ignore,
    *,
    processes: DistributedContext | None = None,
    overwrite: bool = False,
) -> TrainResult:
    """Train, or go on with a run that stopped: the same plan and clips take the same steps.

    Raises `UsageError` where the folder holds a run with other settings, `DeviceError` when memory runs out or numbers
    overflow, `KeyboardInterrupt` after saving when it was asked to stop.
    """
    here = processes or DistributedContext()
    emit = emit if here.is_first else ignore
    if here.sharding:
        here.sharding.check(plan.config)
    if plan.config.optimizer == "adamw8bit":
        check_8bit(plan.device.device)
    if plan.config.tensorboard:
        check_tensorboard()
    if plan.config.cuda_graph:
        check_graphs(plan.device.device, plan.device.torch_dtype)
    motion = build_motion(plan, emit)
    emit(Loading(f"image model {plan.model.name}"))
    parts = load_components(plan.model, plan.device)
    built = build_stage(plan, parts, motion)
    with here.together(plan.device.device):
        if here.sharding and here.sharded:
            built = sharded(built, plan.device.device, here.world, here.sharding)
        recompute = _settle_memory(plan, clips, built, here, emit)
        with _telling_out_of_memory(plan, recompute=recompute):
            return _train(plan, clips, parts, built, here, emit, overwrite=overwrite)


def _train(
    plan: TrainPlan,
    clips: ClipDataset,
    parts: Components,
    built: Built,
    here: DistributedContext,
    emit: Emit,
    *,
    overwrite: bool,
) -> TrainResult:
    run = _make_run(plan, clips, parts, built, here, emit)
    if overwrite and here.is_first:
        run.checkpoints.clear()
    here.wait()
    start = resume(run)
    if start:
        emit(Note(f"going on after step {start} of {plan.config.steps}"))
    if here.is_first:
        settings = plan.config.model_dump(mode="json")
        _write_text(plan.out / CONFIG_FILE, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    gallery = open_gallery(plan, clips, built, parts.vae, parts.prediction_type, run.loader.texts.read, emit)
    _fill_caches(run, plan, clips, parts, gallery, start)
    _release(parts)
    journal = Journal(plan.out, resume_at=start, tensorboard=plan.config.tensorboard) if here.is_first else None
    try:
        run.train(journal, start, gallery.write)
    finally:
        if journal:
            journal.close()
    return _finish(run, plan, clips, built, gallery, journal)


def _make_run(
    plan: TrainPlan, clips: ClipDataset, parts: Components, built: Built, here: DistributedContext, emit: Emit
) -> Run:
    config, device = plan.config, plan.device.device
    folder = paths.cache_dir() / "training"
    loader = BatchLoader(
        clips=clips,
        schedule=_draws(plan, len(clips.items)),
        latents=LatentCache(folder / "latents", sha256_of_module(parts.vae)),
        texts=TextCache.of(folder / "texts", parts),
        scaling_factor=parts.vae.config.scaling_factor,
        device=device,
        noise_offset=config.noise_offset,
        alphas_cumprod=alphas_cumprod(config.beta_schedule, beta_end=config.beta_end),
        sizes=partial(size_ids, motion=built.motion),
    )
    return Run(
        config=config,
        stage=built.stage,
        loader=loader,
        optimiser=Optimizer(built.stage.groups, config, device, plan.device.torch_dtype),
        checkpoints=Checkpoints(plan.out / "checkpoints", config.keep),
        identity=_identity(plan, clips, here),
        processes=here,
        shards=built.shards,
        emit=emit,
    )


def _draws(plan: TrainPlan, num_clips: int) -> SampleSchedule:
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


def _identity(plan: TrainPlan, clips: ClipDataset, here: DistributedContext) -> Identity:
    """Gather what decides the steps: settings, pixels and weights. How samples are spread over processes does not."""
    config = plan.config
    free = FREE_ON_RESUME - ({"steps"} if config.lr_schedule == "cosine" else set())
    settings = config.model_dump(mode="json", exclude={*free, "data", "batch", "accumulation", "model"})
    root = plan.model if plan.model.is_dir() else plan.model.parent
    motion = plan.motion_module
    adapter = plan.domain_adapter
    return Identity(
        settings
        | {
            "dtype": plan.device.dtype,
            "samples per step": config.batch * config.accumulation * here.world,
            "clips": clips_digest([f"{item.key} {item.caption}" for item in clips.items]),
            "model": sha256_of_files(model_files(plan.model), root),
            "motion_module": sha256_of_files([motion], motion.parent) if motion else None,
            "network": plan.network.name,
            "domain_adapter": [sha256_of_files([adapter[0]], adapter[0].parent), adapter[1]] if adapter else None,
        }
    )


def _settle_memory(plan: TrainPlan, clips: ClipDataset, built: Built, here: DistributedContext, emit: Emit) -> bool:
    """Say what a step will take, and recompute activations where that was asked for or memory is short."""
    parts = here.world if here.sharded else 1
    config, dtype = plan.config, plan.device.torch_dtype
    free = free_bytes(plan.device.device)
    if free is not None:
        free += built.frozen_bytes  # they are loaded by now, and counted in what a step takes
    area = max(height * width for height, width in (item.bucket for item in clips.items)) // 64
    sizes: dict[str, Any] = {
        "frozen_bytes": built.frozen_bytes // parts,
        "trained": built.trained // parts,
        "area": area,
        "dtype": dtype,
    }
    kept = estimate(config, built.unet.config, **sizes, recompute=False)
    recompute = config.gradient_checkpointing
    if recompute is None:
        short = free is not None and kept.total > COMFORTABLE * free
        recompute = bool(here.most(int(short), plan.device.device))
    if recompute:
        enable_gradient_checkpointing(built.unet, built.motion)
    needed = estimate(config, built.unet.config, **sizes, recompute=True) if recompute else kept
    there = "" if free is None else f"; {free / 1e9:.1f} GB are there"
    emit(Note(f"a step takes {needed.in_words()}{', recomputed' if recompute else ''}{there}"))
    if free is not None and needed.total > free:
        emit(Note(f"that is more than there is: {remedies(config, dtype, recompute=recompute)}"))
    return recompute


def _fill_caches(
    run: Run, plan: TrainPlan, clips: ClipDataset, parts: Components, gallery: Gallery, start: int
) -> None:
    """Encode what the steps from `start` on and the samples need; processes share the clips among them."""
    config, here, emit = plan.config, run.processes, run.emit
    if here.is_first:
        negatives = {settings.negative_prompt for settings in gallery.settings}
        captions = [item.caption for item in clips.items]
        wanted = [*captions, None, *prompts_of(plan, clips), *sorted(negatives)]
        run.loader.texts.fill(wanted, parts, lambda text: emit(Note(text)))
    first, last = (
        next(iter(positions_of(step, 0, config.batch * here.world, config.accumulation)))
        for step in (start, config.steps)
    )
    pairs = run.loader.schedule.pairs(range(first, last))[here.rank :: here.world]
    run.loader.latents.fill(clips, pairs, parts.vae, lambda done, total: emit(Prepared("latents", done, total)))
    here.wait()


def _release(parts: Components) -> None:
    """Move the encoders to the CPU: the run needs the VAE for samples only, and the text encoders no more."""
    if parts.plan.kind == "cpu":
        return
    for part in filter(None, (parts.vae, parts.text_encoder, parts.text_encoder_2)):
        part.to("cpu")
    gc.collect()
    torch.cuda.empty_cache()


def _finish(
    run: Run, plan: TrainPlan, clips: ClipDataset, built: Built, gallery: Gallery, journal: Journal | None
) -> TrainResult:
    report: dict[str, Any] = {}
    with run.as_result():
        if journal:
            report = make_report(plan, clips, journal.rows, run.identity.values, gallery.leak(clips))
            run.emit(Writing(plan.result))
            built.save(plan.result, metadata_of(plan, report))
    if journal:
        _write_text(plan.out / "report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        run.emit(Written(plan.result, plan.result.stat().st_size))
    run.processes.wait()
    return TrainResult(plan.result, report)


def _write_text(path: Path, text: str) -> None:
    with readable_output_failures(path, "-o"):
        atomic_write_text(path, text)


@contextmanager
def _telling_out_of_memory(plan: TrainPlan, *, recompute: bool) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError(
            f"out of memory on {plan.device.device} while training on {plan.config.batch} clips of"
            f" {plan.config.data.num_frames} frames at a time",
            hint=remedies(plan.config, plan.device.torch_dtype, recompute=recompute),
        ) from error
