"""The public functions: typed settings, many clips with one load, and a clip in a notebook."""

import base64
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import animdiff_cli
from animdiff_cli import convert, fetch_weights, generate, load, train
from animdiff_cli.core.events import Note
from animdiff_cli.diffusion.noise import initial_noise, seeded_generator
from animdiff_cli.errors import UsageError
from animdiff_cli.files.threads import CHOSEN
from animdiff_cli.outputs import read_recipe

ROOT = Path(__file__).parents[2]


def test_the_package_has_a_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", animdiff_cli.__version__)


def test_threads_are_prepared_before_the_first_name_is_imported():
    code = "import os, animdiff_cli as a; print('GOMP_SPINCOUNT' in os.environ, a.AnimdiffError, dict(os.environ))"
    environ = {key: value for key, value in os.environ.items() if key not in CHOSEN}
    for chosen in ({}, {"OMP_WAIT_POLICY": "ACTIVE"}):
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environ | chosen, cwd=ROOT
        )
        assert run.stdout.startswith("False") and ("GOMP_SPINCOUNT" in run.stdout) == (not chosen)


@pytest.fixture(scope="session")
def animator(small):
    return load(**{key: value for key, value in small.items() if key != "seed"})


def test_one_load_renders_the_clips_that_generate_renders(small, animator):
    clips = [animator.generate("a fox", seed=1), animator.generate("a fish", seed=2, num_frames=3, guidance_scale=2)]
    alone = [
        generate("a fox", **small),
        generate("a fish", **small | {"seed": 2, "num_frames": 3, "guidance_scale": 2}),
    ]
    for clip, other in zip(clips, alone, strict=True):
        assert (clip.frames == other.frames).all()
        assert clip.recipe == other.recipe


def test_without_a_seed_one_is_drawn_and_reported(animator):
    events = []
    clip = animator.generate("a fox", emit=events.append)
    notes = [event.message for event in events if isinstance(event, Note)]
    assert f"seed {clip.recipe['config']['seed']}, drawn at random" in notes


def test_given_noise_replaces_that_of_the_seed(animator):
    noise = initial_noise(seeded_generator(1), 2, 8, 8)
    given = animator.generate("a fox", seed=9, noise=noise).frames
    assert (given == animator.generate("a fox", seed=1).frames).all()
    with pytest.raises(UsageError, match="shape") as caught:
        animator.generate("a fox", noise=torch.zeros(1, 4, 8, 8))
    assert caught.value.hint == "use shape [1, 4, 2, 8, 8]"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vae": "vae-ft-mse"}, "`vae` decides which weights are loaded"),
        ({"dtype": "bf16"}, "`dtype` decides"),
        ({"negative_prompt": "embedding:easynegative"}, "`embeddings` decides"),
        ({"context_length": 99}, "a window of 99 frames"),
        ({"clip_skip": 5}, "cannot skip 5"),
        ({"stepz": 5}, "unknown key `stepz`"),
        ({"width": 65}, "width"),
    ],
)
def test_a_clip_that_the_loaded_weights_cannot_render_is_refused(animator, changes, message):
    with pytest.raises(UsageError, match=message):
        animator.generate("a fox", **changes)


def test_a_clip_prints_one_line(animator):
    clip = animator.generate("a fox " * 50, seed=1)
    assert repr(clip).startswith("<Clip 2 frames, 64×64, 8 fps, seed 1: 'a fox a fox")
    assert len(repr(clip)) < 120


def test_clips_can_be_compared(animator):
    clip = animator.generate("a fox", seed=1)
    assert clip == clip and clip != animator.generate("a fox", seed=1) and len({clip}) == 1


def test_a_notebook_plays_a_clip_that_has_its_recipe(animator, tmp_path):
    clip = animator.generate('a <b> & "fox"', seed=1)
    html = clip._repr_html_()
    assert 'alt="a &lt;b&gt; &amp; &quot;fox&quot;"' in html and 'width="64" height="64"' in html
    path = tmp_path / "shown.webp"
    path.write_bytes(base64.b64decode(re.search(r"base64,([^\"]+)", html)[1]))
    assert read_recipe(path)["config"] == clip.recipe["config"]


def test_training_takes_settings_and_a_mapping_of_data(small, tmp_path):
    rng = np.random.default_rng(0)
    from PIL import Image

    (tmp_path / "stills").mkdir()
    for index in range(2):
        pixels = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "stills" / f"{index}.png")
    result = train(
        "motion-lora",
        tmp_path / "stills",
        model=small["model"],
        motion_module=small["motion_module"],
        steps=1,
        rank=2,
        spatial_rank=0,
        debias=0,
        leak_stills=0,
        variants=1,
        dtype="fp32",
        out=tmp_path / "run",
        device="cpu",
        data={"num_frames": 2, "size": 64, "shot": "pan-right", "caption": "a bell"},
    )
    assert result.path.is_file() and result.path.parent == tmp_path / "run"
    with pytest.raises(UsageError, match=r"unknown key `data\.shots`"):
        train("motion-lora", tmp_path / "stills", data={"shots": "pan-right"})


def test_weights_are_converted_and_fetched(small, tmp_path):
    result = convert(small["motion_module"], dtype="fp16", output=tmp_path / "half.safetensors")
    assert result.path == tmp_path / "half.safetensors" and not result.not_finite
    assert {tensor.dtype for tensor in load_file(result.path).values()} == {torch.float16}
    (fetched,) = fetch_weights("pocket-motion", offline=True)
    assert fetched.cached and fetched.path.is_file()
    with pytest.raises(UsageError, match="nothing to fetch"):
        fetch_weights()


SNIPPET = """
from pathlib import Path
from animdiff_cli import Animator, Clip, __version__, generate, load, train
clip: Clip = generate("a fox", model=Path("x"), loras=["a@0.5", {"ref": "b", "scale": 1}], scheduler="ddim", seed=1)
animator: Animator = load(model="pocket", steps=3)
animator.generate("a fox", guidance_scale=3).save("fox.gif").name
train("motion-lora", "clips", data={"shot": "pan-left"}, steps=10).path.name
__version__.upper()
generate("a fox", stepz=3)  # line 9
generate("a fox", steps="many")  # line 10
generate("a fox", scheduler="dim")  # line 11
train("motion-lora", "clips", data={"shot": "up"})  # line 12
load("pocket")  # line 13
"""


def test_a_type_checker_knows_every_setting(tmp_path):
    (tmp_path / "script.py").write_text(SNIPPET)
    # only the modules of the public signatures: the whole package takes mypy half a minute
    jobs = ("generate", "animator", "clip", "convert", "train")
    modules = ["animdiff_cli", *(f"animdiff_cli.jobs.{name}" for name in jobs)]
    followed = ",".join([*modules, "animdiff_cli.config.keywords", "animdiff_cli.core.choices"])
    config = tmp_path / "mypy.ini"
    config.write_text(f"[mypy]\nfollow_imports = skip\n[mypy-{followed}]\nfollow_imports = silent\n")
    command = [sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", tmp_path, "script.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={"MYPYPATH": str(ROOT), "PATH": ""}
    )
    assert re.findall(r"^script.py:(\d+): error", done.stdout, re.MULTILINE) == ["9", "10", "11", "12", "13"], done
