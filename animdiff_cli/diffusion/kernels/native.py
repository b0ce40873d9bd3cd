"""The library of compiled C++ (`*.cpp`): compiled at its first use on a machine that has g++, and kept in the cache.

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

from animdiff_cli import paths
from animdiff_cli.errors import UsageError
from animdiff_cli.files.atomic import hidden_sibling
from animdiff_cli.files.os_errors import check_output_path, unexpected_failure

FOLDER = Path(__file__).parent
SOURCES = tuple(FOLDER / name for name in ("attention.cpp", "convolution.cpp", "group_norm.cpp", "lanes.h"))
COMPILER = "g++"
FLAGS = (
    *("-O3", "-fno-math-errno", "-fno-trapping-math", "-fassociative-math", "-fno-signed-zeros"),
    *("-fopenmp", "-shared", "-fPIC"),
)
#: by what torch finds a processor capable of. Torch's own code asks for the same instructions, so that a shared cache
#: fits every machine that loads a library from it
INSTRUCTIONS = {
    "AVX512": ("-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mavx2", "-mfma"),
    "AVX2": ("-mavx2", "-mfma"),
}
TIMEOUT = 30  # seconds; it takes one to three
NOT_SUPPORTED = "needs Linux and AVX2"

#: what kept a library from being compiled or loaded although g++ is there, until somebody tells the user
failures: list[str] = []


@lru_cache(1)
def library() -> ctypes.CDLL | None:
    """Return the compiled library; None without AVX2 or g++, or where compiling or loading fails."""
    if not is_supported():
        return None
    folder = _folder()
    try:
        return _load(_find(folder) or _compile(folder))
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        if which(COMPILER):
            failures.append(_reason(error))
        return None


def obstacle() -> str | None:
    """Say what keeps the library from being used here, as far as it is known without compiling it."""
    if not is_supported():
        return NOT_SUPPORTED
    try:
        if path := _find(_folder()):
            _load(path)
            return None
        check_output_path(_folder() / "layers.so")
    except (UsageError, OSError, AttributeError) as error:
        return str(error)
    return None if which(COMPILER) else f"{COMPILER} is not installed"


def is_supported() -> bool:
    """Whether there is code for this processor and operating system."""
    return sys.platform == "linux" and instruction_set() in INSTRUCTIONS


def instruction_set() -> str:
    """Name the widest vectors that torch uses on this processor, such as `AVX512`."""
    name: str = torch.backends.cpu.get_cpu_capability()
    return name


def arithmetic() -> str:
    """Name what computes the layers that the library has: `avx512`, `avx2` or `torch`."""
    return instruction_set().lower() if library() else "torch"


def _folder() -> Path:
    return paths.cache_dir() / "kernels"


def _load(path: Path) -> ctypes.CDLL:
    """Load a library and say what its functions take. Raises `OSError` or `AttributeError` where it is another one."""
    loaded = ctypes.CDLL(str(path))
    pointer, integer, number = ctypes.c_void_p, ctypes.c_int, ctypes.c_float
    loaded.attention.argtypes = [*[pointer] * 6, number, integer, integer]
    loaded.convolution.argtypes = [*[pointer] * 5, integer, integer]
    loaded.group_norm.argtypes = [*[pointer] * 6, number, integer, integer, integer]
    for function in (loaded.attention, loaded.convolution, loaded.group_norm):
        function.restype = None
    return loaded


def _find(folder: Path) -> Path | None:
    """Return the library if it is there and whole: loading one that was cut off would kill the process."""
    found = sorted(folder.glob(f"{_prefix()}*.so"))
    return next((path for path in found if path.name == _named_by_content(path)), None)


def _compile(folder: Path) -> Path:
    """Compile the library and return its path. Raises `OSError` or `SubprocessError` where that fails."""
    if which(COMPILER) is None:
        raise FileNotFoundError(COMPILER)
    folder.mkdir(parents=True, exist_ok=True)
    with hidden_sibling(folder / "layers.so") as target:
        sources = [str(path) for path in SOURCES if path.suffix == ".cpp"]
        command = [COMPILER, *_flags(), "-o", str(target), *sources]
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)
        return target.replace(folder / _named_by_content(target))


def _flags() -> tuple[str, ...]:
    return (*INSTRUCTIONS[instruction_set()], *FLAGS)


def _reason(error: Exception) -> str:
    """Say in one line why there is no library."""
    if isinstance(error, subprocess.CalledProcessError):
        lines: list[str] = error.stderr.decode(errors="replace").splitlines() or [f"{COMPILER} failed"]
        return next((line for line in lines if "error" in line or "failed" in line), lines[0])
    if isinstance(error, subprocess.TimeoutExpired):
        return f"{COMPILER} took longer than {TIMEOUT} seconds"
    known = unexpected_failure(error) if isinstance(error, OSError) else None
    return str(known or error)


def _prefix() -> str:
    """Begin the name of the library with what it is compiled from."""
    content = b"".join(path.read_bytes() for path in SOURCES)
    return f"layers-{_short_hash(content + ' '.join(_flags()).encode())}-"


def _named_by_content(path: Path) -> str:
    return f"{_prefix()}{_short_hash(path.read_bytes())}.so"


def _short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
