"""Whole runs of a few steps on a toy model: their results, interrupts and resumes."""

import json
import signal
import threading

import numpy as np
import pytest
import torch
import yaml

from animdiff_cli.core.events import Note, Prepared, Saved, Trained
from animdiff_cli.errors import DeviceError, IntegrityError, UsageError
from animdiff_cli.jobs.train import run_training
from animdiff_cli.motion import load_motion_module
from animdiff_cli.outputs import read_recipe
from animdiff_cli.outputs.read import read_clip
from animdiff_cli.training.loop import deferred_interrupts
from animdiff_cli.training.lora_layers import LoraLayers, motion_projections
from animdiff_cli.training.metrics_log import read_metrics
from animdiff_cli.weights.files import read_metadata, read_tensors, write_tensors
from animdiff_cli.weights.identify import identify

from .conftest import ToyClips, stop_after

pytestmark = pytest.mark.usefixtures("quick_samples")


def losses(plan):
    return [row.loss for row in read_metrics(plan.out / "loss.csv")]


def test_a_run_writes_a_motion_lora_with_its_metadata(make_plan, clips):
    plan = make_plan(save_every=2, sample_every=4, sample_prompts=("a fox",), leak_stills=1)
    result = run_training(plan, clips)
    info = identify(result.path)
    assert (info.kind, info.version, info.rank, info.format) == ("motion-lora", "v3", 4, "original")
    recipe = json.loads(info.metadata["animdiff.training"])
    assert recipe["config"]["lr"] == 5e-4 and recipe["steps"] == 4
    assert json.loads(info.metadata["animdiff.data"])["count"] == 3
    assert "/" not in recipe["config"]["model"]  # folders of this machine are not published
    motion = load_motion_module(plan.motion_module)
    trained = LoraLayers.load(motion_projections(motion), result.path)
    assert all(layer.up.abs().max() > 0 for layer in trained.layers.values())
    files = sorted(path.relative_to(plan.out).as_posix() for path in plan.out.rglob("*") if path.is_file())
    assert files == [
        "checkpoints/step-00000002.pt",
        "checkpoints/step-00000004.pt",
        "config.yaml",
        "loss.csv",
        "loss.png",
        "report.json",
        "run.safetensors",
        "samples/step-000004-1.gif",
    ]
    assert yaml.safe_load((plan.out / "config.yaml").read_text()) == plan.config.model_dump(mode="json")
    assert 0 < result.report["appearance"]["similarity"] <= 1


def test_a_stopped_run_resumes_exactly(make_plan, clips):
    settings = {"steps": 6, "ema": 0.9, "caption_dropout": 0.3, "batch": 2, "lr_schedule": "cosine"}
    whole = make_plan(out="whole", save_every=100, **settings)
    run_training(whole, clips)
    plan = make_plan(out="stopped", save_every=100, **settings)
    with pytest.raises(KeyboardInterrupt):
        run_training(plan, clips, stop_after(2))
    assert len(losses(plan)) == 3  # the step during the interrupt is finished and saved
    events = []
    run_training(plan, clips, events.append)
    assert any(isinstance(event, Note) and "resuming after step 3" in event.message for event in events)
    assert losses(plan) == losses(whole)
    resumed, uninterrupted = (read_tensors(p.result) for p in (plan, whole))
    assert all(torch.equal(resumed[key], uninterrupted[key]) for key in uninterrupted)


def test_a_longer_run_encodes_only_new_clips_and_a_finished_run_does_nothing(make_plan, clips):
    events = []
    run_training(make_plan(), clips, events.append)
    assert sum(isinstance(event, Prepared) for event in events) == 4
    events.clear()
    longer = make_plan(steps=6)
    run_training(longer, clips, events.append)
    assert [event.step for event in events if isinstance(event, Trained)] == [5, 6]
    assert sum(isinstance(event, Prepared) for event in events) == 2  # only the clips of the added steps
    weights = longer.result.read_bytes()
    events.clear()
    run_training(longer, clips, events.append)
    assert not any(isinstance(event, Trained | Prepared | Saved) for event in events)
    assert longer.result.read_bytes() == weights


def test_another_run_in_the_same_folder_is_refused_unless_it_overwrites(make_plan, clips):
    plan = make_plan(steps=3)
    run_training(plan, clips)
    first = losses(plan)
    with pytest.raises(UsageError, match=r"other settings: lr: 0\.0005 → 0\.001"):
        run_training(make_plan(steps=3, lr=1e-3), clips)
    with pytest.raises(UsageError, match="the videos or their captions have changed"):
        run_training(plan, ToyClips(salt="other"))
    run_training(make_plan(steps=3, lr=1e-3), clips, overwrite=True)
    assert losses(plan)[0] == first[0] and losses(plan)[2] != first[2]


def test_a_folder_with_other_files_is_refused(make_plan, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(UsageError, match="not of a training run"):
        make_plan(out="photos")


@pytest.mark.full
def test_gradient_checkpointing_changes_no_loss(make_plan, clips):
    plain, checkpointed = (
        make_plan(out="plain", steps=2, gradient_checkpointing=False),
        make_plan(out="checkpointed", steps=2, gradient_checkpointing=True),
    )
    for plan in (plain, checkpointed):
        run_training(plan, clips)
    assert losses(plain) == pytest.approx(losses(checkpointed), rel=2e-3)


def test_clips_of_several_sizes_train_together(make_plan):
    mixed = ToyClips(sizes=[(64, 64), (64, 128), (128, 64)])
    plan = make_plan(batch=3, accumulation=2, steps=2)
    run_training(plan, mixed)
    assert len(losses(plan)) == 2


def test_accumulation_takes_the_step_of_the_whole_batch(make_plan, clips):
    settings = {"steps": 2, "spatial_mask": 0}
    whole, halves = make_plan(out="a", batch=2, **settings), make_plan(out="b", accumulation=2, **settings)
    for plan in (whole, halves):
        run_training(plan, clips)
    assert losses(whole) == pytest.approx(losses(halves), rel=2e-3)


def test_the_spatial_lora_learns_and_is_not_exported(make_plan, clips):
    plan = make_plan(spatial_mask=0)
    result = run_training(plan, clips)
    state = torch.load(plan.out / "checkpoints" / "step-00000004.pt", weights_only=True)
    spatial = [tensor for name, tensor in state["weights"].items() if name.startswith("1.") and name.endswith(".up")]
    # at a resolution of 1x1, self-attention is constant and its queries learn nothing
    assert sum(bool(tensor.abs().max() > 0) for tensor in spatial) > 0.7 * len(spatial)
    assert all(".motion_modules." in key for key in read_tensors(result.path))
    without = make_plan(out="without", spatial_rank=0)
    run_training(without, clips)
    assert losses(plan)[0] == losses(without)[0]  # untrained, it adds nothing
    assert losses(plan)[3] != losses(without)[3]


@pytest.mark.parametrize("layout", ["diffusers", "peft"])
def test_the_result_is_exported_in_other_layouts(make_plan, clips, layout):
    result = run_training(make_plan(format=layout, steps=1), clips)
    assert identify(result.path).format == layout


def test_an_adapter_learns_from_single_frames_and_is_used_in_stage_2(make_plan, clips):
    adapter = make_plan("domain-adapter", out="adapter", steps=2, batch=1, sample_every=2, sample_prompts=("a fox",))
    result = run_training(adapter, clips)
    info = identify(result.path)
    assert (info.kind, info.rank) == ("domain-adapter", 4)
    assert sorted(path.suffix for path in (adapter.out / "samples").iterdir()) == [".png"]
    plain, adapted = (
        make_plan("motion-module", out=name, steps=2, batch=1, domain_adapter=path)
        for name, path in (("plain", None), ("adapted", f"{result.path}@1.0"))
    )
    for plan in (plain, adapted):
        run_training(plan, clips)
    assert losses(plain)[0] != losses(adapted)[0]
    off = make_plan("motion-module", out="off", steps=2, batch=1, domain_adapter=f"{result.path}@0")
    run_training(off, clips)
    assert losses(off) == losses(plain)


@pytest.mark.parametrize("version", ["v1", pytest.param("v2", marks=pytest.mark.full), "v3"])
def test_a_new_motion_module_learns_and_is_exported_in_the_official_layout(make_plan, clips, version):
    plan = make_plan("motion-module", steps=2, batch=1, motion_version=version, ema=0.0)
    result = run_training(plan, clips)
    info = identify(result.path)
    assert (info.kind, info.version, info.format) == ("motion-module", version, "original")
    motion = load_motion_module(result.path)
    ends = [t for name, t in motion.named_parameters() if name.endswith("proj_out.weight")]
    assert ends and all(end.abs().max() > 0 for end in ends)
    assert read_metadata(result.path)["animdiff.base"]


def test_training_starts_from_a_published_module(make_plan, clips, toy_motion_file):
    plan = make_plan("motion-module", motion_module=str(toy_motion_file), batch=1, steps=1, lr=1e-6, ema=0.0)
    trained = read_tensors(run_training(plan, clips).path)
    before = read_tensors(toy_motion_file)
    changes = [(trained[key].float() - before[key].float()).abs().max() for key in before if "pos_encoder" not in key]
    assert max(changes) < 2e-3 and sum(float(change) for change in changes) > 0


@pytest.mark.parametrize("stage", ["motion-lora", pytest.param("motion-module", marks=pytest.mark.full)])
def test_clips_use_linear_betas_by_default(make_plan, clips, stage):
    settings = {"steps": 2, "batch": 1, "spatial_rank": 0}
    plain = make_plan(stage, out="plain", **settings)
    settings |= {"sample_every": 2, "sample_prompts": ("a fox",)}
    linear, scaled = (
        make_plan(stage, out=betas, beta_schedule=betas, **settings) for betas in ("linear", "scaled_linear")
    )
    for plan in (plain, linear, scaled):
        run_training(plan, clips)
    assert losses(plain) == losses(linear) and losses(scaled)[0] != losses(linear)[0]
    samples = [plan.out / "samples" / "step-000002-1.gif" for plan in (linear, scaled)]
    assert [read_recipe(path)["config"]["beta_schedule"] for path in samples] == ["linear", "scaled_linear"]
    assert not np.array_equal(*(read_clip(path).frames for path in samples))
    recipe = json.loads(read_metadata(scaled.result)["animdiff.training"])
    assert recipe["config"]["beta_schedule"] == "scaled_linear"
    with pytest.raises(UsageError, match="beta_schedule: linear → scaled_linear"):
        run_training(make_plan(stage, out="linear", **settings | {"beta_schedule": "scaled_linear"}), clips)


def test_as_lora_exports_an_ordinary_lora(make_plan, clips):
    plan = make_plan("domain-adapter", as_lora=True, rank=4, steps=1, batch=1)
    info = identify(run_training(plan, clips).path)
    assert (info.kind, info.version, info.rank) == ("lora", None, 4)


def test_an_adapter_uses_the_noise_schedule_of_its_image_model(make_plan, clips):
    plain = make_plan("domain-adapter", out="plain", steps=1)
    scaled, linear = (
        make_plan("domain-adapter", out=betas, steps=1, beta_schedule=betas) for betas in ("scaled_linear", "linear")
    )
    for plan in (plain, scaled, linear):
        run_training(plan, clips)
    assert losses(plain) == losses(scaled) != losses(linear)


@pytest.mark.full
def test_the_spatial_lora_uses_the_image_models_noise_schedule_always(make_plan, clips):
    learned = []
    for betas in ("linear", "scaled_linear"):
        plan = make_plan(out=betas, beta_schedule=betas, steps=1, spatial_mask=0)
        run_training(plan, clips)
        learned.append(torch.load(plan.out / "checkpoints" / "step-00000001.pt", weights_only=True)["weights"])
    linear, scaled = learned
    differing = {name.partition(".")[0] for name in linear if not torch.equal(linear[name], scaled[name])}
    assert differing == {"0"}  # the temporal LoRA


def test_bf16_runs_keep_trained_weights_in_float32(make_plan, clips):
    plan = make_plan("motion-module", dtype="bf16", batch=1, steps=1, sample_every=1, sample_prompts=("a fox",))
    run_training(plan, clips)
    state = torch.load(plan.out / "checkpoints" / "step-00000001.pt", weights_only=True)
    assert {tensor.dtype for tensor in state["weights"].values()} == {torch.float32}
    lora = make_plan(out="lora", dtype="bf16", steps=2)
    run_training(lora, clips)
    assert all(loss < 10 for loss in losses(lora))


def test_an_adapter_for_another_model_is_refused(make_plan, clips, tmp_path, toy_motion_file):
    lora = run_training(make_plan(steps=1), clips).path
    with pytest.raises(IntegrityError, match="does not have"):
        run_training(make_plan("motion-module", out="b", domain_adapter=str(lora)), clips)


def test_too_many_frames_are_refused_before_the_model_loads(make_plan):
    events = []
    with pytest.raises(UsageError, match="supports 1 to 32"):
        run_training(make_plan(data__num_frames=33), ToyClips(num_frames=33), events.append)
    assert len(events) == 1


def test_a_loss_that_is_not_finite_ends_the_run(make_plan, clips, toy_motion_file, tmp_path):
    broken = read_tensors(toy_motion_file)
    bias = next(key for key in broken if key.endswith("proj_out.bias"))
    broken[bias] = torch.full_like(broken[bias], torch.inf)
    path = tmp_path / "broken.safetensors"
    write_tensors(broken, path, read_metadata(toy_motion_file))
    with pytest.raises(DeviceError, match="numbers overflow"):
        run_training(make_plan(motion_module=str(path)), clips)


def test_adamw8bit_is_refused_without_cuda(make_plan, clips):
    with pytest.raises(DeviceError, match="CUDA"):
        run_training(make_plan(optimizer="adamw8bit"), clips)


def test_a_run_works_outside_the_main_thread(make_plan, clips):
    plan, done = make_plan(steps=1), []
    thread = threading.Thread(target=lambda: done.append(run_training(plan, clips)))
    thread.start()
    thread.join()
    assert done[0].path.is_file()


def test_a_run_in_a_folder_whose_name_is_not_utf8_writes_its_result(make_plan, clips, tmp_path):
    plan = make_plan(out="caf\udce9", steps=1, data__videos=f"{tmp_path}/\udce9")
    result = run_training(plan, clips)
    assert json.loads(identify(result.path).metadata["animdiff.training"])["config"]["data"]["videos"] == "\udce9"
    report = json.loads((plan.out / "report.json").read_text(encoding="utf-8"))
    assert report["config"]["out"].endswith("caf\udce9")


def test_a_result_that_cannot_be_written_is_refused_before_the_first_step(make_plan, clips, tmp_path):
    plan = make_plan(out="x" * 250)
    with pytest.raises(UsageError, match="the name is too long"):
        run_training(plan, clips, lambda event: pytest.fail("trained") if isinstance(event, Trained) else None)


def test_samples_that_a_killed_run_lacks_are_written_on_resume(make_plan, clips):
    plan = make_plan(steps=2, sample_every=1, sample_prompts=("a fox",))
    run_training(plan, clips)
    samples = {path.name: path.read_bytes() for path in sorted((plan.out / "samples").iterdir())}
    (plan.out / "samples" / "step-000002-1.gif").unlink()
    run_training(plan, clips)
    assert {path.name: path.read_bytes() for path in sorted((plan.out / "samples").iterdir())} == samples


def test_an_output_with_the_suffix_of_weights_is_the_file_of_the_result(make_plan, clips, tmp_path):
    plan = make_plan(out="pan.safetensors", steps=2)
    assert (plan.out, plan.result) == (tmp_path / "pan", tmp_path / "pan.safetensors")
    assert run_training(plan, clips).path == tmp_path / "pan.safetensors"
    assert (tmp_path / "pan" / "config.yaml").is_file()
    make_plan(out="pan.safetensors", steps=3)
    (tmp_path / "other.safetensors").touch()
    with pytest.raises(UsageError, match="not of a training run"):
        make_plan(out="other.safetensors")
    with pytest.raises(UsageError, match=r"results are written as `\.safetensors`") as refusal:
        make_plan(out="pan.ckpt")
    assert "pan.safetensors`" in refusal.value.hint


def test_stage_2_starts_from_the_float32_values_of_the_file(make_plan, toy_model, toy_motion_file):
    from animdiff_cli.diffusion.build import load_components
    from animdiff_cli.jobs.train_stages import build_models, build_motion

    plan = make_plan("motion-module", motion_module=str(toy_motion_file), dtype="bf16")
    models = build_models(plan, load_components(plan.model, plan.device), build_motion(plan, lambda event: None))
    original = load_motion_module(toy_motion_file).float().state_dict()
    assert models.unet.dtype == torch.bfloat16
    assert all(torch.equal(tensor, original[key]) for key, tensor in models.motion.state_dict().items())


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="POSIX signals")
def test_a_closing_terminal_sends_its_signal_twice_and_the_step_is_still_finished():
    before = signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        with deferred_interrupts() as requested:
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGHUP)
            assert requested()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signal.signal(signal.SIGHUP, signal.SIG_IGN) == signal.default_int_handler
        with deferred_interrupts() as requested:  # started by nohup
            signal.raise_signal(signal.SIGHUP)
            assert not requested()
    finally:
        signal.signal(signal.SIGHUP, before)
