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
from benchmarks.memory import SHAPES, Counted, level_for, peaks_of, planned
from benchmarks.profile import group_of, grouped, profiled

ROOT = Path(__file__).parents[1]

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
    class Convolutions:
        def render(self, shape, on_step, on_denoised):
            image = torch.ones(1, 8, 64, 64)
            for _ in range(shape.steps):
                torch.nn.functional.conv2d(image, torch.ones(8, 8, 3, 3))

    found = profiled(Convolutions(), Shape(1, 64, 5, 1.0))
    assert max(found, key=found.get) == "convolution"


def test_the_script_for_gpus_takes_at_most_nine_minutes():
    script = (ROOT / "benchmarks" / "gpu.sh").read_text()
    limits = list(map(int, re.findall(r"^measure (\d+)", script, re.MULTILINE)))
    assert len(limits) > 8
    assert sum(limits) <= 9 * 60


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
    environment = os.environ | {"PYTHON": sys.executable, "BENCHMARK_RESULTS": str(tmp_path)}
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), "--smoke"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    names = ("norms", "generate", "train", "decode", "deep_call")
    assert {f"{name}.jsonl" for name in names} == {path.name for path in tmp_path.iterdir()}
    rows = [line for line in run.stdout.splitlines() if line.startswith("tiny fp32, 2 frames, 16 px, ")]
    assert any("thread(s): animdiff kernels " in row for row in rows)


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
