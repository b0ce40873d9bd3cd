"""The whole recipe at toy size: it runs in pieces, and what it saves loads and draws."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from animdiff_cli.motion import load_motion_module
from tools.pocket import workspace
from tools.pocket.architecture import TINY, build_vae
from tools.pocket.latents import to_pixels
from tools.pocket.loop import load_trained
from tools.pocket.recipe import COMMANDS
from tools.pocket.refine import main as refine
from tools.pocket.save import MADE_BY, read_recipe
from tools.pocket.stages.noise import draw_noise
from tools.pocket.stages.vae import draw_crops, normalise_latents
from tools.pocket.train import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train everything for a few steps, in two runs; folders `work`, `bundle` and `sheets`."""
    folder = tmp_path_factory.mktemp("pocket")
    command = ["--stage", "all", "--tiny-data", "--tiny-model", "--device", "cpu", "--minutes", "0.005"]
    places = ["--work", str(folder / "work"), "--out", str(folder / "bundle"), "--sheets", str(folder / "sheets")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspace, "CAPTIONS_FOR_TOKENIZER", 500)
        assert main([*command, *places, "--stop-after", "0"]) == 0
        assert not (folder / "bundle").exists()
        assert main([*command, *places]) == 0
    return folder


@pytest.mark.full
def test_bundle_loads_as_a_stable_diffusion_pipeline(trained: Path):
    pipeline = StableDiffusionPipeline.from_pretrained(trained / "bundle")
    assert len(pipeline.tokenizer) == pipeline.text_encoder.config.vocab_size
    assert pipeline.unet.dtype == torch.float32 or pipeline.unet.dtype == torch.float16
    assert json.loads((trained / "bundle/model_index.json").read_text())["safety_checker"] == [None, None]


@pytest.mark.full
def test_motion_module_is_saved_in_the_official_layout(trained: Path):
    motion = load_motion_module(trained / "bundle/motion_module.safetensors")
    assert motion.spec.version == "v3"
    assert motion.spec.max_frames == 32


@pytest.mark.full
def test_every_weight_file_tells_how_it_was_trained(trained: Path):
    for file, stages in MADE_BY.items():
        recipe = read_recipe(trained / "bundle" / file)
        assert tuple(stage["stage"] for stage in recipe["stages"]) == stages
        assert all(stage["steps"] >= 1 for stage in recipe["stages"])
        assert recipe["license"] == "Apache-2.0"
        assert recipe["clips"] == 32


@pytest.mark.full
def test_sheets_show_reconstructions_stills_and_motion(trained: Path):
    sizes = {file.name: Image.open(file).size for file in (trained / "sheets").glob("*.png")}
    assert sizes == {"reconstructions.png": (8 * 128, 256), "stills.png": (4 * 128, 128), "motion.png": (2048, 256)}


@pytest.mark.full
def test_latents_are_encoded_anew_after_the_autoencoder_trained_on(trained: Path, tmp_path: Path):
    work = shutil.copytree(trained / "work", tmp_path / "work")
    longer_s = 2 * load_trained(work / "vae.pt").elapsed_s  # a step takes longer on a busy machine
    minutes = str(longer_s / COMMANDS["vae"]["vae"] / 60)
    command = ["--stage", "vae", "--tiny-data", "--tiny-model", "--device", "cpu", "--minutes", minutes]
    assert (work / "clips.pt").exists()
    assert main([*command, "--work", str(work)]) == 0
    assert not (work / "clips.pt").exists()
    assert (work / "vae_normalised.pt").read_bytes() != (trained / "work/vae_normalised.pt").read_bytes()


@pytest.mark.full
def test_log_names_every_stage(trained: Path):
    rows = (trained / "sheets/log.csv").read_text().splitlines()
    assert {row.split(",")[0] for row in rows[1:]} == {"vae", "decoder", "image", "motion"}


def test_normalised_latents_have_mean_0_and_deviation_1_and_the_same_pictures():
    torch.manual_seed(0)
    vae = build_vae(TINY)
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 128, 128, 3), dtype=np.uint8))
    pixels = to_pixels(frames, torch.float32)
    with torch.no_grad():
        before = vae.encode(pixels).latent_dist
        picture = vae.decode(before.mean).sample
        normalise_latents(vae, frames)
        after = vae.encode(pixels).latent_dist
        assert torch.allclose(after.mean.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4)
        assert torch.allclose(after.mean.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-4)
        assert torch.allclose(vae.decode(after.mean).sample, picture, atol=1e-4)
        assert torch.allclose(
            after.std / after.mean.std(), before.std / before.mean.std(dim=(0, 2, 3), keepdim=True), rtol=0.01
        )


def test_crops_are_cut_on_the_latent_grid():
    frames = torch.arange(128, dtype=torch.uint8).view(1, 1, 128, 1).expand(1, 128, 128, 3)
    for seed in range(8):
        crops = draw_crops(frames, 2, 64, torch.float32, torch.Generator().manual_seed(seed))
        left = round((crops[0, 0, 0, 0].item() + 1) * 127.5)
        assert crops.shape == (2, 3, 64, 64)
        assert left % 8 == 0


def test_noise_means_differ_from_frame_to_frame():
    noise = draw_noise(torch.zeros(64, 16, 4, 16, 16), torch.Generator().manual_seed(0))
    means = noise.mean(dim=(-1, -2))
    assert means.std().item() == pytest.approx((0.3**2 + 1 / 256) ** 0.5, rel=0.05)
    assert means.std(dim=1).mean().item() == pytest.approx(means.std().item(), rel=0.1)


def test_unknown_training_state_ends_with_a_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--stage", "motion", "--tiny-data", "--tiny-model", "--device", "cpu", "--work", str(tmp_path)]) == 2
    assert "--stage image" in capsys.readouterr().err


@pytest.mark.full
def test_a_style_is_learnt_by_the_unet_alone(trained: Path, tmp_path: Path):
    bundle, styled = trained / "bundle", tmp_path / "crayon"
    command = ["--part", "image", "--style", "crayon", "--clips", "16", "--minutes", "0.002", "--device", "cpu"]
    assert refine([*command, "--bundle", str(bundle), "--out", str(styled), "--work", str(tmp_path / "work")]) == 0
    changed = [file for file in MADE_BY if (bundle / file).read_bytes() != (styled / file).read_bytes()]
    assert changed == ["unet/diffusion_pytorch_model.safetensors"]
    assert read_recipe(styled / changed[0])["stages"][-1]["style"] == "crayon"
    StableDiffusionPipeline.from_pretrained(styled)


def test_motion_is_not_refined_in_a_style(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        refine(["--part", "motion", "--style", "ink", "--out", "nowhere"])
    assert "learnt on the base style" in capsys.readouterr().err
