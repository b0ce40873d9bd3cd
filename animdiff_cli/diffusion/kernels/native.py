"""Attention with small heads in C++ (`attention.cpp`), compiled at its first use on a machine that has g++.

Where it cannot be compiled or loaded, `kernels.cpu` computes with torch's operators.
"""

import ctypes
import hashlib
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from shutil import which

import torch
from torch import Tensor

from animdiff_cli import paths
from animdiff_cli.files.atomic import atomic_write

SOURCE = Path(__file__).with_name("attention.cpp")
COMPILER = "g++"
#: what torch's AVX-512 code asks of a processor too, so that a shared cache fits every machine that loads it
FLAGS = (
    *("-O3", "-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mavx2", "-mfma"),
    *("-fno-math-errno", "-fno-trapping-math", "-fassociative-math", "-fno-signed-zeros"),
    *("-fopenmp", "-shared", "-fPIC"),
)
TIMEOUT = 120  # seconds; it takes about one


def attention(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor | None:
    """Compute attention of CPU tensors [B, heads, tokens, D] in float32 or bf16; None where there is no library.

    Softmax and sums are in float32. Tensors may be views whose numbers of one head are contiguous.
    """
    if (run := library()) is None:
        return None
    query, key, value = (x if x.stride(-1) == 1 else x.contiguous() for x in (query, key, value))
    batch, heads, queries, width = query.shape
    output = torch.empty(batch, queries, heads, width, dtype=query.dtype).transpose(1, 2)
    tensors = (query, key, value, output)
    shape = (ctypes.c_int64 * 5)(batch, heads, queries, key.shape[2], width)
    strides = (ctypes.c_int64 * 12)(*(stride for x in tensors for stride in x.stride()[:3]))
    factor = width**-0.5 if scale is None else scale
    is_bf16 = query.dtype == torch.bfloat16
    with torch.profiler.record_function("native_attention"):  # else profiles would not show it
        run(*(x.data_ptr() for x in tensors), shape, strides, factor, is_bf16, torch.get_num_threads())
    return output


@lru_cache(1)
def library() -> "ctypes._NamedFuncPointer | None":
    """Return the compiled function; None without AVX-512 or g++, or where compiling or loading fails."""
    if sys.platform != "linux" or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return None
    key = hashlib.sha256(SOURCE.read_bytes() + " ".join(FLAGS).encode()).hexdigest()[:16]
    path = paths.cache_dir() / "kernels" / f"attention-{key}.so"
    try:
        if not path.is_file():
            _compile(path)
        function = ctypes.CDLL(str(path)).attention
    except (OSError, subprocess.SubprocessError):
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int
    function.argtypes = [*[pointer] * 6, ctypes.c_float, number, number]
    function.restype = None
    return function


def _compile(path: Path) -> None:
    """Compile the library to `path`. Raises `OSError` or `SubprocessError` where that fails."""
    if which(COMPILER) is None:
        raise FileNotFoundError(COMPILER)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as target:
        command = [COMPILER, *FLAGS, "-o", str(target), str(SOURCE)]
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)
