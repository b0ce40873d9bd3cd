"""The three stages on SDXL: conditioning, results and renders."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image

from animdiff_cli import generate
from animdiff_cli.config.layers import Layer
from animdiff_cli.core.events import Trained
from animdiff_cli.diffusion.build import load_components
from animdiff_cli.diffusion.conditions.sdxl import size_ids
from animdiff_cli.diffusion.cross_attention import share_text
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.text import encode_prompt
from animdiff_cli.jobs.convert import convert_weights, plan_conversion
from animdiff_cli.jobs.train import run_training
from animdiff_cli.jobs.train_plan import plan_training
from animdiff_cli.motion import load_motion_module, plug
from animdiff_cli.outputs import read_recipe
from animdiff_cli.training.data.batches import BatchLoader
from animdiff_cli.training.data.latents import LatentCache
from animdiff_cli.training.data.sample_schedule import SampleSchedule
from animdiff_cli.training.data.texts import TextCache
from animdiff_cli.training.losses import DenoisingLosses
from animdiff_cli.training.objective import add_noise, alphas_cumprod
from animdiff_cli.weights.files import read_tensors
from animdiff_cli.weights.identify import identify

from .conftest import ToyClips
from .test_run import losses, stop_after

pytestmark = pytest.mark.usefixtures("quick_samples")

LONGER = [pytest.param(stage, marks=pytest.mark.full) for stage in ("domain-adapter", "motion-module")]
#: option of `generate` for each result
USED_AS = {"motion-lora": "motion_loras", "domain-adapter": "domain_adapter", "motion-module": "motion_module"}
WIDE = (64, 128)  # height and width


@pytest.fixture
def make_sdxl_plan(make_plan, toy_sdxl_model, toy_sdxl_motion_file):
    """Plan a run on the toy SDXL model."""

    def plan(stage="motion-lora", **settings):
        module = {"motion_module": str(toy_sdxl_motion_file)} if stage == "motion-lora" else {}
        return make_plan(stage, **{"model": str(toy_sdxl_model), "batch": 1, **module, **settings})

    return plan


@pytest.fixture
def loader(toy_sdxl_model, tmp_path):
    """Return a batch loader of one wide clip, and the model's components."""
    components = load_components(toy_sdxl_model, DevicePlan("cpu", 0, "fp32"))
    clips = ToyClips(1, sizes=[WIDE])
    loader = BatchLoader(
        clips=clips,
        schedule=SampleSchedule(num_clips=1, caption_dropout=0.5),
        latents=LatentCache(tmp_path / "latents", "vae"),
        texts=TextCache.of(tmp_path / "texts", components),
        scaling_factor=components.vae.config.scaling_factor,
        device=torch.device("cpu"),
        alphas_cumprod=alphas_cumprod("scaled_linear"),
    )
    loader.latents.fill(clips, [(0, 0)], components.vae)
    loader.texts.fill([clips.items[0].caption, None, ""], components)
    return loader, components


def first(loader, *, dropped):
    """Return the first batch with or without a dropped caption."""
    place = next(place for place in range(99) if loader.schedule.at(place).drop_caption == dropped)
    return loader.batches([place])[0]


def test_clips_have_the_conditioning_of_a_render(loader):
    loader, components = loader
    batch, silent = first(loader, dropped=False), first(loader, dropped=True)
    prompt, empty = (encode_prompt(components, text) for text in ("clip number 0", None))
    assert torch.equal(batch.text, prompt.embeds) and torch.equal(silent.text, empty.embeds)
    assert torch.equal(batch.pooled, prompt.pooled) and torch.equal(silent.pooled, empty.pooled)
    assert batch.sizes.tolist() == silent.sizes.tolist() == [list(size_ids(*WIDE))]
    assert batch.sizes.tolist() == [[64, 128, 0, 0, 64, 128]]
    assert not silent.text.any() and loader.texts.read("").embeds.any()


def test_truncated_text_of_a_caption_is_reported_once(loader):
    loader, components = loader
    messages = []
    loader.texts.fill(["x" * 75 + "left out"], components, messages.append)
    assert len(messages) == 1 and "left out" in messages[0]


def test_other_text_encoders_use_other_cache_entries(loader, tmp_path):
    loader, components = loader
    with torch.no_grad():
        components.text_encoder_2.text_projection.weight.add_(1)
    assert TextCache.of(tmp_path / "texts", components).encoder_digest != loader.texts.encoder_digest
    changed = replace(components, zeros_for_empty=False)
    assert TextCache.of(tmp_path / "texts", changed).encoder_digest != loader.texts.encoder_digest


def test_the_loss_equals_that_of_the_stock_unet_with_conditioning_per_frame(loader, toy_sdxl_motion_file):
    loader, components = loader
    batch = first(loader, dropped=False)
    motion = load_motion_module(toy_sdxl_motion_file)
    motion.requires_grad_(True)
    plug(components.unet, motion)
    betas = {"beta_start": 0.00085, "beta_end": 0.02, "beta_schedule": "scaled_linear"}
    noisy = DDPMScheduler(**betas).add_noise(batch.latents, batch.noise, batch.timesteps)
    rows = {"text_embeds": batch.pooled.expand(4, -1), "time_ids": torch.tensor([[64.0, 128, 0, 0, 64, 128]] * 4)}
    with motion.frames(4), torch.no_grad():
        text = batch.text.expand(4, -1, -1)
        predicted = components.unet(noisy[0], batch.timesteps, text, added_cond_kwargs=rows).sample
    share_text(components.unet)
    denoising = DenoisingLosses.of(components.unet, "epsilon", clip_betas="scaled_linear", clip_beta_end=0.02)
    loss = denoising.video_loss(batch, motion, 0.0, 1.0)
    torch.testing.assert_close(loss, (predicted - batch.noise[0]).square().mean(), rtol=1e-5, atol=0)
    other = denoising.video_loss(replace(batch, sizes=batch.sizes * 2), motion, 0.0, 1.0)
    assert abs(other - loss) > 1e-7


@pytest.mark.parametrize("stage", ["motion-lora", *LONGER])
def test_a_stage_learns_and_its_result_renders_and_converts(make_sdxl_plan, toy_sdxl_motion_file, stage, tmp_path):
    settings = {"steps": 10, "first_timestep": 900, "save_every": 100, "spatial_rank": 0, "data.num_frames": 2}
    settings |= {"batch": 4, "steps": 20} if stage == "domain-adapter" else {}
    watched = {"sample_every": 10, "sample_prompts": ("a fox",), "leak_stills": 1}
    plan = make_sdxl_plan(stage, lr=2e-2 if stage == "domain-adapter" else 1e-2, **settings, **watched)
    result = run_training(plan, ToyClips(1, 2))
    untrained = make_sdxl_plan(stage, out="untrained", lr=1e-9, **settings)
    run_training(untrained, ToyClips(1, 2))  # with the same clips and noise
    gains = np.subtract(losses(untrained), losses(plan))
    assert abs(gains[0]) < 1e-5 and np.mean(gains[-3:]) > 0.005, gains
    info = identify(result.path)
    assert (info.kind, info.base, info.version) == (stage, "sdxl", "sdxl")
    assert ("similarity" in result.report["appearance"]) if stage == "motion-lora" else not result.report["appearance"]

    sample = next((plan.out / "samples").iterdir())
    settings = read_recipe(sample)["config"] | {"motion_module": str(toy_sdxl_motion_file), "num_frames": 4}
    settings |= {"dtype": "fp32", "steps": 2, "prompt": "a fox"}
    plain = generate(**settings)
    trained = generate(
        **settings | {USED_AS[stage]: [str(result.path)] if stage == "motion-lora" else str(result.path)}
    )
    assert np.abs(trained.frames.astype(int) - plain.frames).max() > 1

    way = ("diffusers", "original") if stage == "motion-module" else ("kohya", "peft", "original")
    path = result.path
    for number, layout in enumerate(way):
        path = convert_weights(plan_conversion(str(path), layout, output=_place(tmp_path, stage, layout, number))).path
        assert identify(path).base == "sdxl"
    result_tensors, converted = read_tensors(result.path), read_tensors(path)
    assert result_tensors.keys() == converted.keys()
    assert all(torch.equal(result_tensors[key], converted[key]) for key in converted)


def _place(folder, stage, layout, number):
    is_folder = stage == "motion-module" and layout == "diffusers"
    return folder / (f"{number}-{layout}" if is_folder else f"{number}-{layout}.safetensors")


def test_a_sample_equals_a_render(make_sdxl_plan):
    plan = make_sdxl_plan("domain-adapter", lr=2e-2, sample_every=4, sample_prompts=("a fox",))
    result = run_training(plan, ToyClips(1, sizes=[WIDE]))
    sample = next((plan.out / "samples").glob("*.png"))
    settings = read_recipe(sample)["config"]
    assert (settings["height"], settings["width"]) == WIDE
    settings |= {"motion_module": None, "num_frames": 1}
    trained, plain = (generate(**settings | more) for more in ({"domain_adapter": str(result.path)}, {}))
    far = [np.abs(np.asarray(Image.open(sample)).astype(int) - still.frames[0]).mean() for still in (trained, plain)]
    assert far[0] < 0.1 * far[1]  # the file stores half precision


@pytest.mark.full
def test_a_stopped_run_resumes_exactly(make_sdxl_plan, clips):
    settings = {"steps": 4, "caption_dropout": 0.3, "batch": 2, "ema": 0.9, "save_every": 100}
    whole, plan = (make_sdxl_plan(out=name, **settings) for name in ("whole", "stopped"))
    run_training(whole, clips)
    with pytest.raises(KeyboardInterrupt):
        run_training(plan, clips, stop_after(1))
    taken = []
    run_training(plan, clips, lambda event: taken.append(event) if isinstance(event, Trained) else None)
    assert 0 < len(taken) < 4 and losses(plan) == losses(whole)
    resumed, uninterrupted = (read_tensors(p.result) for p in (plan, whole))
    assert all(torch.equal(resumed[key], uninterrupted[key]) for key in uninterrupted)


@pytest.mark.full
def test_an_adapter_is_active_in_the_next_stage(make_sdxl_plan, clips):
    adapter = run_training(make_sdxl_plan("domain-adapter", out="adapter", lr=1e-2), clips).path
    plain, adapted = (
        make_sdxl_plan("motion-module", out=name, domain_adapter=path, gradient_checkpointing=True, steps=2)
        for name, path in (("plain", None), ("adapted", str(adapter)))
    )
    for plan in (plain, adapted):
        run_training(plan, clips)
    assert losses(plain) != losses(adapted)


@pytest.mark.parametrize(
    ("stage", "version", "schedule"),
    [
        ("motion-lora", "sdxl", ("scaled_linear", 0.02)),
        ("motion-module", "sdxl", ("scaled_linear", 0.02)),
        ("motion-module", "hotshot", ("scaled_linear", 0.012)),
        ("domain-adapter", "sdxl", ("scaled_linear", 0.012)),
    ],
)
def test_each_stage_uses_the_noise_schedule_of_renders(make_sdxl_plan, stage, version, schedule):
    plan = make_sdxl_plan(stage, **{} if stage == "motion-lora" else {"motion_version": version})
    assert plan.version == version
    assert (plan.config.beta_schedule, plan.config.beta_end) == schedule
    chosen = make_sdxl_plan(stage, beta_schedule="linear", beta_end=0.01)
    assert (chosen.config.beta_schedule, chosen.config.beta_end) == ("linear", 0.01)


def test_clips_have_half_the_size_of_the_models_pictures_by_default(toy_model, toy_sdxl_model, tmp_path):
    sizes = []
    for model in (toy_model, toy_sdxl_model):
        words = {"model": str(model), "data.videos": "nowhere", "out": str(tmp_path / "run")}
        sizes.append(plan_training("motion-module", [Layer("test", words)], device="cpu").config.data.size)
    assert sizes == [256, 512]


def test_hotshot_uses_the_size_conditioning_it_was_trained_with(make_sdxl_plan, clips, toy_sdxl_model):
    plan = make_sdxl_plan("motion-module", motion_version="hotshot", steps=1)
    result = run_training(plan, clips)
    assert identify(result.path).version == "hotshot"
    motion = load_motion_module(result.path)
    assert size_ids(64, 64, motion) == (1920, 1080, 0, 0, 512, 512)
    with_its_own_sizes = losses(plan)
    other = make_sdxl_plan("motion-module", out="other", steps=1, beta_end=0.012)
    run_training(other, clips)
    assert losses(other) != with_its_own_sizes


def test_from_noise_shows_the_model_pure_noise(loader):
    plain, _ = loader
    hiding = replace(plain, schedule=replace(plain.schedule, from_noise=0.99))
    batch = hiding.batches([0])[0]
    sample = hiding.schedule.at(0)
    assert sample.from_noise
    generator = torch.Generator().manual_seed(sample.noise_seed)
    torch.randn(batch.latents.shape[1:], generator=generator)  # used to sample the latents
    noise = torch.randn(batch.latents.shape[1:], generator=generator)
    shown = add_noise(batch.latents, batch.noise, hiding.alphas_cumprod[batch.timesteps])
    assert torch.allclose(shown[0], noise, atol=1e-5)
    assert not torch.allclose(batch.noise[0], noise, atol=1e-3)
