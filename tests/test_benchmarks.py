"""The script that measures on a GPU: that it groups what a profile finds, fits in its time, and runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.contenders import Shape
from benchmarks.fast import COUNTED, EXACT, load_preset, sd15_tflop, ways
from benchmarks.profile import group_of, grouped, profiled

ROOT = Path(__file__).parents[1]

#: operators of a CPU, and kernels as CUDA's libraries and Triton name them
NAMES = {
    "convolution": ["aten::mkldnn_convolution", "sm90_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc"],
    "attention": ["aten::_scaled_dot_product_flash_attention_for_cpu", "fmha_cutlassF_f16_aligned_64x64_rf_sm80"],
    "matrix products": ["aten::addmm", "nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NNT", "sm80_xmma_gemm_f16f16"],
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


@pytest.mark.full
def test_the_script_for_gpus_runs_on_a_cpu(tmp_path):
    environment = os.environ | {"PYTHON": sys.executable, "BENCHMARK_RESULTS": str(tmp_path)}
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), "--smoke"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    names = ("norms", "generate", "train", "decode", "deep_call")
    assert {f"{name}.jsonl" for name in names} == {path.name for path in tmp_path.iterdir()}
    assert "tiny fp32, 2 frames, 16 px: animdiff kernels" in run.stdout


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
