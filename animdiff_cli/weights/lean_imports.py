"""Import diffusers and transformers without their parts that no command uses. For programs of their own."""

import ctypes
import importlib.metadata
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from animdiff_cli.core.garbage import collection_paused
from animdiff_cli.core.stand_ins import module_with, standing_in

#: Both import these when they find them. A render needs none: LoRAs are added here, weights are read and placed here,
#: and no scheduler uses beta sigmas. A torchvision that was built for another torch cannot be imported at all.
UNUSED = frozenset({"accelerate", "peft", "scipy", "timm", "torchvision"})
#: Packages that import all of their modules, hundreds of networks. A render uses one or two modules of each.
BARE = (
    "transformers.models",
    *(f"diffusers.models.{name}" for name in ("autoencoders", "controlnets", "transformers", "unets")),
)
#: what marks functions for `torch.compile` as they are defined; in blocks that are compiled here, none does
DYNAMO_MARKS = ("allow_in_graph", "assume_constant_result", "disable", "graph_break")
#: what renders, all of it in diffusers and transformers
NETWORKS = (
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.controlnets.controlnet",
    "diffusers.models.unets.unet_2d_condition",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
)


def import_networks() -> None:
    """Import the networks that render, without what they need for training, compiling and several machines.

    It takes about half of the CPU time of importing them as usual. Does nothing if diffusers or transformers are
    imported already. If they cannot be imported this way, as other versions may not be, they are imported as usual.
    """
    if {"diffusers", "transformers"} & sys.modules.keys():
        return
    with collection_paused():
        try:
            with _lean():
                for name in NETWORKS:
                    import_module(name)
            return
        except Exception:  # of their own code: whatever it meets, the usual import decides
            for name in [name for name in sys.modules if name.partition(".")[0] in ("diffusers", "transformers")]:
                del sys.modules[name]
        for name in NETWORKS:
            import_module(name)


def preload_torch() -> None:
    """Let a thread load the largest libraries of torch, while other modules are imported.

    Call it when the number of CPU threads is set. On Linux, and for torch without CUDA. What fails is left to
    `import torch`.
    """
    spec = importlib.util.find_spec("torch")
    if sys.platform == "linux" and "torch" not in sys.modules and spec and spec.origin:
        threading.Thread(target=_load_libraries, args=(Path(spec.origin).parent / "lib",), daemon=True).start()


def _load_libraries(folder: Path) -> None:
    """Load what torch for CPUs loads first, and in the way in which it does. The libraries of CUDA take more care."""
    if (folder / "libtorch_cuda.so").exists():
        return
    with suppress(OSError):
        ctypes.CDLL(str(folder / "libtorch_global_deps.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / "libtorch_cpu.so"))


@contextmanager
def _lean() -> Iterator[None]:
    """Hide what is not used. The libraries look for it once, when they are imported, and remember what they found.

    Everything can be imported again afterwards.
    """
    import torch
    import torch.distributed

    find_spec, is_available = importlib.util.find_spec, torch.distributed.is_available
    list_packages = importlib.metadata.packages_distributions

    def find_used(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name.partition(".")[0] in UNUSED else find_spec(name, package)

    stand_ins = {name: _bare(name) for name in BARE}
    stand_ins["torch._dynamo"] = _bare("torch._dynamo", **dict.fromkeys(DYNAMO_MARKS, _unmarked))
    importlib.util.find_spec = find_used
    importlib.metadata.packages_distributions = cache(list_packages)  # both list what is installed
    torch.distributed.is_available = lambda: False
    try:
        with standing_in(stand_ins):
            yield
    finally:
        importlib.util.find_spec, torch.distributed.is_available = find_spec, is_available
        importlib.metadata.packages_distributions = list_packages


def _bare(name: str, **attributes: object) -> ModuleType:
    """Return a package whose modules can be imported, with `attributes` in place of what its `__init__` imports."""
    root, _, rest = name.partition(".")
    spec = importlib.util.find_spec(root)  # runs nothing
    folders = spec.submodule_search_locations if spec else None
    paths = [str(Path(folder, *rest.split("."))) for folder in folders or ()]
    return module_with(name, __path__=paths, **attributes)


def _unmarked(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
    """Return a function as it is. Without one, return a decorator that does so."""
    return _unmarked if function is None else function
