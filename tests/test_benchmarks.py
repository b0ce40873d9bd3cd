"""The script that measures on a GPU: that it groups what a profile finds, fits in its time, and runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from animdiff_cli.core.memory_examples import EXAMPLES
from animdiff_cli.core.memory_levels import MemoryLevel
from animdiff_cli.jobs.cost import count_need
from benchmarks import memory_table
from benchmarks.contenders import Shape
from benchmarks.fast import COUNTED, EXACT, load_preset, sd15_tflop, ways
from benchmarks.measure import Timing
from benchmarks.memory import SHAPES, Counted, level_for, peaks_of, planned
from benchmarks.profile import group_of, grouped, profiled

ROOT = Path(__file__).parents[1]
#: modules that `gpu.sh` runs
PARTS = ("generate", "norms", "train", "memory", "decode", "conditions")

#: operators of a CPU, and kernels as CUDA's libraries and Triton name them
NAMES = {
    "convolution": ["aten::mkldnn_convolution", "sm90_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc"],
    "attention": [
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "native_attention",
        "fmha_cutlassF_f16_aligned_64x64_rf_sm80",
    ],
    "matrix products": [
        "aten::addmm",
        "mkldnn::_linear_pointwise",
        "nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NNT",
        "sm80_xmma_gemm_f16f16",
    ],
    "norms": [
        "aten::native_group_norm",
        "aten::native_layer_norm",
        "void at::native::(anonymous namespace)::RowwiseMomentsCUDAKernel<c10::Half>",
        "_moments",
        "_apply",
    ],
    "elementwise": [
        "aten::gelu",
        "aten::silu",
        "aten::mul",
        "void at::native::vectorized_elementwise_kernel<4>",
        "_gate",
    ],
    "copies": [
        "aten::copy_",
        "void cudnn::ops::nchwToNhwcKernel<__half, __half, float>",
        "Memcpy DtoH (Device -> Pinned)",
        "void at::native::(anonymous namespace)::CatArrayBatchedCopy<c10::Half>",
    ],
    "other": ["aten::empty"],
}


@pytest.mark.parametrize("group", NAMES)
def test_operators_and_kernels_are_grouped(group):
    assert [group_of(name) for name in NAMES[group]] == [group] * len(NAMES[group])


def test_times_add_up_by_group():
    found = grouped([("aten::add", 1.0), ("aten::gelu", 2.0), ("aten::addmm", 4.0), ("aten::mm", 0.0)])
    assert found == {"matrix products": 4.0, "elementwise": 3.0}


def test_a_profile_finds_what_a_contender_does():
    class Contender:
        def render(self, shape, on_step, on_denoised):
            image = torch.ones(1, 8, 64, 64)
            for _ in range(shape.steps):
                torch.nn.functional.conv2d(image, torch.ones(8, 8, 3, 3))
                on_step()
            on_denoised()
            torch.nn.functional.group_norm(image, 2)

    found = profiled(Contender(), Shape(1, 64, 25, 1.0), Timing([0.1]))
    assert max(found["step"], key=found["step"].get) == "convolution"
    assert max(found["decoding"], key=found["decoding"].get) == "norms"
    assert "convolution" not in found["decoding"] and "norms" not in found["step"]


@pytest.fixture
def script(tmp_path):
    """Run `gpu.sh` with a Python that logs modules instead of running them, and waits if it is told to."""
    log, python = tmp_path / "log", tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >>{log}\ncase "$*" in *"$WAIT_AT"*) exec sleep 60;; esac\n')
    python.chmod(0o755)

    def start(**environment):
        changes = {"PYTHON": str(python), "OUT": str(tmp_path / "out"), "WAIT_AT": "nothing"} | environment
        command = ["bash", str(ROOT / "benchmarks" / "gpu.sh")]
        return subprocess.Popen(command, env=os.environ | changes, stdout=subprocess.PIPE, text=True)

    def ran():
        return [re.sub("-W ignore |-m ", "", line) for line in log.read_text().splitlines()] if log.exists() else []

    return start, ran


def test_the_script_for_gpus_measures_what_matters_first_and_prints_a_table(script):
    start, ran = script
    assert start().wait() == 0
    names = [line.split()[0] for line in ran()]
    assert "--model-size sd15" in ran()[0] and "--steps 25" in ran()[0] and "--profile" in ran()[0]
    assert names[-1] == "benchmarks.summary"
    assert set(names) == {f"benchmarks.{name}" for name in (*PARTS, "summary")}


def test_the_script_for_gpus_ends_in_its_time(script):
    """A measurement may take its own limit, and no more than what is left of all."""
    start, ran = script
    run = start(BUDGET="12")  # ten of them are for the table
    assert run.wait() == 1
    assert ran() == ["benchmarks.summary"]
    assert "no time left for benchmarks.norms" in run.stdout.read()
    limits = re.findall(r"^measure (\d+)", (ROOT / "benchmarks" / "gpu.sh").read_text(), re.MULTILINE)
    assert sum(map(int, limits[:6])) <= 450  # what matters most is not cut off by what comes before it


def test_the_script_for_gpus_prints_its_table_when_it_is_interrupted(script):
    start, ran = script
    run = start(WAIT_AT="benchmarks.norms")
    for line in run.stdout:
        if line.startswith("== benchmarks.norms"):
            break
    while run.poll() is None and "norms" not in ran()[-1]:
        pass
    run.terminate()
    assert run.wait() == 1
    assert [line.split()[0] for line in ran()][1:] == ["benchmarks.norms", "benchmarks.summary"]


def test_every_way_to_do_less_has_fewer_operations():
    less = [settings for name, settings in ways().items() if name != EXACT]
    less += [load_preset(name).values for name in COUNTED]
    assert max(map(sd15_tflop, less)) < sd15_tflop(ways()[EXACT])


def test_counted_memory_is_what_dry_runs_say_within_a_fifth():
    """From the records: what `auto` decides by is never below the peak, and clips of SD1.5 fit every card."""
    found = memory_table.records()
    shares = [record["dry_run_bytes"] / max(record["bytes"].values()) for record in found if record["fits"]]
    assert len(shares) > 40 and min(shares) >= 0.995 and max(shares) <= 1.2
    on_cards = [record for record in found if record["card_gb"]]
    assert all(record["fits"] and not record["notes"] for record in on_cards if record["clip"].startswith("sd15"))
    (smallest,) = [r for r in on_cards if r["clip"].startswith("sd15, 16 x 512") and r["card_gb"] == 4]
    assert max(smallest["bytes"].values()) < 3.5e9


@pytest.mark.full
def test_a_clip_of_sd15_renders_in_four_gigabytes(tmp_path):
    """At true size, without numbers, on a device of 3.5 GB; the records are counted the same way."""
    plan, meter = planned(SHAPES[0], tmp_path, empty=True), Counted()
    level = level_for(plan, meter.plan("same", MemoryLevel()), int(3.5e9))
    peaks = peaks_of(plan, meter.plan("same", level, steps_down=True), meter, int(3.5e9))
    (record,) = [r for r in memory_table.records() if r["card_gb"] == 4 and r["clip"] == str(SHAPES[0])]
    assert str(level) == record["level"] and not peaks.notes
    assert peaks.highest == pytest.approx(max(record["bytes"].values()), rel=0.02)


@pytest.mark.full
@pytest.mark.parametrize(("shape", "example"), [*zip((SHAPES[0], SHAPES[-1]), EXAMPLES, strict=True)])
def test_the_examples_of_doctor_are_counted(tmp_path, shape, example):
    plan = planned(shape, tmp_path, empty=True)
    assert count_need(plan.configs[0], plan.weights, Counted().plan("same", MemoryLevel())) == EXAMPLES[example]


@pytest.mark.full
def test_the_script_for_gpus_runs_on_a_cpu(tmp_path):
    environment = os.environ | {"PYTHON": sys.executable, "OUT": str(tmp_path)}
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), "--smoke"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    assert {path.stem for path in tmp_path.glob("*.jsonl")} == set(PARTS)
    table = (tmp_path / "table.txt").read_text()
    assert run.stdout.endswith(table)
    rows = [
        r"tiny fp32, 2 frames, 16 px, 1 thread\(s\): animdiff kernels +\d",
        r"  2 steps and decoding +\d",
        r"  first clip of the process, of two steps +\d",
        r"  levels from plain of animdiff kernels: [01] at most",
        r"    convolution( +\d+\.\d+){3}\n",
        r"training tiny fp32, 2 frames, 128 px: animdiff +\d",
        r"counted, sd15, 16 x 512²: sequential +2\.41\n",
        r"decoding tiny fp32, 2 frames, 16 px: kernels +\d",
        r"norm fp32 .*beside torch's +\d",
        r"step of tiny fp32 with ControlNet +\d",
        r"tiny-xl fp32, 2 frames, 16 px, 1 thread\(s\): diffusers +\d",
    ]
    assert [row for row in rows if not re.search(f"^{row}", table, re.MULTILINE)] == []


@pytest.mark.full
def test_conditions_are_timed_beside_those_of_diffusers(tmp_path):
    environment = os.environ | {"BENCHMARK_RESULTS": str(tmp_path)}
    tiny = ["--model-size", "tiny", "--size", "64", "--frames", "2", "--steps", "2", "--rounds", "1", "--dtype", "fp32"]
    command = [sys.executable, "-m", "benchmarks.conditions", *tiny, "--device", "cpu"]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (record,) = map(json.loads, (tmp_path / "conditions.jsonl").read_text().splitlines())
    rows = record["conditions"]
    assert [name for name, row in rows.items() if row["ratio"] is None] == ["ControlNet, guess mode", "mask", "region"]
    assert all(row["animdiff_s"] > 0 for row in rows.values())
