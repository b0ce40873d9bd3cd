"""Triton's compiler accepts what its interpreter runs: to machine code of a GPU that is not here."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.full
pytest.importorskip("triton")  # Linux only

SCRIPT = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from animdiff_cli.diffusion.kernels import geglu, group_norm

def compiled(kernel, constants=(), **types):
    integers = {name: "i32" for name in kernel.arg_names if name not in types} | types
    fixed = {name: value for name, value in types.items() if not isinstance(value, str)} | dict(constants)
    signature = {name: "constexpr" if name in fixed else integers[name] for name in kernel.arg_names}
    constants = {(kernel.arg_names.index(name),): value for name, value in fixed.items()}
    source = ASTSource(kernel, signature, constants)
    return "cubin" in triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm

tile = {"block_rows": 64, "block_channels": 64}
ones = dict.fromkeys(("num_rows", "splits", "rows_per_split", "num_frames", "images", "width"), 1)  # Triton inlines 1
for capability in (75, 90):
    for dtype in ("*fp16", "*bf16", "*fp32"):
        assert compiled(group_norm._moments, rows=dtype, moments="*fp32", **tile)
        of_affine = {"moments": "*fp32", "affine": "*fp32", "eps": "fp32"}
        of_affine |= dict.fromkeys(("weight", "bias", "added"), dtype)
        for has_added in (True, False):
            for constants in ({}, ones):
                sizes = {"block_splits": 64, "block_width": 16, "has_added": has_added}
                assert compiled(group_norm._affine, constants, **of_affine, **sizes)
        for silu in (True, False):
            assert compiled(group_norm._apply, rows=dtype, affine="*fp32", normed=dtype, silu=silu, **tile)
        assert compiled(geglu._gate, projected=dtype, output=dtype, block=1024)
print("compiled")
"""


def test_kernels_compile_for_gpus(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == "compiled", run.stderr
