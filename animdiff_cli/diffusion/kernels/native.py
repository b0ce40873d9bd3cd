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
from animdiff_cli.files.atomic import hidden_sibling

SOURCE = Path(__file__).with_name("attention.cpp")
COMPILER = "g++"
#: what torch's AVX-512 code asks of a processor too, so that a shared cache fits every machine that loads it
FLAGS = (
    *("-O3", "-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mavx2", "-mfma"),
    *("-fno-math-errno", "-fno-trapping-math", "-fassociative-math", "-fno-signed-zeros"),
    *("-fopenmp", "-shared", "-fPIC"),
)
TIMEOUT = 120  # seconds; it takes about one
NOT_SUPPORTED = "needs Linux and AVX-512"


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
    if not _is_supported():
        return None
    folder = _folder()
    try:
        function = _load(_find(folder) or _compile(folder))
    except (OSError, AttributeError, subprocess.SubprocessError):
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int
    function.argtypes = [*[pointer] * 6, ctypes.c_float, number, number]
    function.restype = None
    return function


def obstacle() -> str | None:
    """Say what keeps the function from running here, as far as it is known without compiling it."""
    if not _is_supported():
        return NOT_SUPPORTED
    try:
        if path := _find(_folder()):
            _load(path)
            return None
    except (OSError, AttributeError) as error:
        return str(error)
    return None if which(COMPILER) else f"{COMPILER} is not installed"


def _is_supported() -> bool:
    return sys.platform == "linux" and torch.backends.cpu.get_cpu_capability() == "AVX512"


def _folder() -> Path:
    return paths.cache_dir() / "kernels"


def _load(path: Path) -> "ctypes._NamedFuncPointer":
    return ctypes.CDLL(str(path)).attention


def _find(folder: Path) -> Path | None:
    """Return the library if it is there and whole: loading one that was cut off would kill the process."""
    found = sorted(folder.glob(f"{_prefix()}*.so"))
    return next((path for path in found if path.name == _named_by_content(path)), None)


def _compile(folder: Path) -> Path:
    """Compile the library and return its path. Raises `OSError` or `SubprocessError` where that fails."""
    if which(COMPILER) is None:
        raise FileNotFoundError(COMPILER)
    folder.mkdir(parents=True, exist_ok=True)
    with hidden_sibling(folder / "attention.so") as target:
        command = [COMPILER, *FLAGS, "-o", str(target), str(SOURCE)]
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)
        return target.replace(folder / _named_by_content(target))


def _prefix() -> str:
    """Begin the name of the library with what it is compiled from."""
    return f"attention-{_short_hash(SOURCE.read_bytes() + ' '.join(FLAGS).encode())}-"


def _named_by_content(path: Path) -> str:
    return f"{_prefix()}{_short_hash(path.read_bytes())}.so"


def _short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
