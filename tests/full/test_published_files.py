"""Synthetic files with the keys, shapes and dtypes of published files at true size, through the command line.

Slow and large (10 GB of disk, temporarily): `make test-full`.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import true_size

pytestmark = pytest.mark.full

#: bytes of the files their authors publish (Realistic Vision 5.1; the others from guoyww/animatediff)
PUBLISHED = {"sd15": 2132625894, "v3-pickle": 1673262583, "motion-lora": 77474499, "adapter": 102134097}
CARDS = {
    "sd15": {"kind": "base", "base": "sd15", "tensors": 1131, "dtype": "fp16"},
    "v3-pickle": {"kind": "motion-module", "version": "v3", "tensors": 560, "max_frames": 32, "dtype": "fp32"},
    "motion-lora": {"kind": "motion-lora", "version": "v2", "tensors": 336, "rank": 64, "parameters": 19_333_120},
    "adapter": {"kind": "domain-adapter", "version": "v3", "tensors": 256, "rank": 128, "parameters": 25_509_888},
}
SMALL = ("--steps", "2", "-L", "2", "-W", "64", "-H", "64", "--seed", "1", "-f", "frames", "-q")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write all four files once."""
    folder = tmp_path_factory.mktemp("published")
    return {name: true_size.write(name, folder) for name in PUBLISHED}


def animdiff(*words):
    """Run the command; returns its standard output."""
    code = "from animdiff_cli.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def frames_of(folder):
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


@pytest.mark.parametrize("name", PUBLISHED)
def test_size_and_kind_match_the_published_file(files, name):
    assert abs(files[name].stat().st_size - PUBLISHED[name]) < 5000
    info = json.loads(animdiff("inspect", files[name], "--json", "--no-hash"))
    assert {key: info[key] for key in CARDS[name]} == CARDS[name]


@pytest.mark.parametrize(
    ("name", "to"),
    [("v3-pickle", "diffusers"), ("motion-lora", "peft"), ("motion-lora", "diffusers"), ("adapter", "kohya")],
)
def test_a_converted_file_is_identified(files, tmp_path, name, to):
    suffix = "" if (name, to) == ("v3-pickle", "diffusers") else ".safetensors"
    result = json.loads(animdiff("convert", files[name], "--to", to, "-o", tmp_path / f"out{suffix}", "--json", "-q"))
    info = json.loads(animdiff("inspect", result["path"], "--json", "--no-hash"))
    assert info["kind"] == CARDS[name]["kind"]
    assert info["format"] == to
    assert not result["not_finite"]


def test_file_and_folder_render_the_same_clip(files, tmp_path):
    folder = tmp_path / "model"
    animdiff("convert", files["sd15"], "--to", "diffusers", "-o", folder, "-q")
    clips = []
    for number, model in enumerate((files["sd15"], folder)):
        out = tmp_path / f"clip{number}"
        words = ["--model", model, "--motion-module", files["v3-pickle"], "-p", "a fox", *SMALL, "-o", out]
        assert animdiff("generate", *words).strip() == str(out)
        clips.append(frames_of(out))
    assert clips[0].shape == (2, 64, 64, 3)
    assert clips[0].std() > 1
    assert np.array_equal(*clips)


@pytest.mark.parametrize(("flag", "name"), [("--domain-adapter", "adapter"), ("--motion-lora", "motion-lora")])
def test_added_weights_change_the_clip(files, tmp_path, flag, name):
    if flag not in animdiff("generate", "--help"):
        pytest.skip(f"`generate` has no {flag} yet")
    module = true_size.write("v2", tmp_path) if name == "motion-lora" else files["v3-pickle"]
    common = ["--model", files["sd15"], "--motion-module", module, "-p", "a fox", *SMALL]
    animdiff("generate", *common, "-o", tmp_path / "plain")
    animdiff("generate", *common, flag, f"{files[name]}@1", "-o", tmp_path / "changed")
    assert (frames_of(tmp_path / "plain") != frames_of(tmp_path / "changed")).any()
