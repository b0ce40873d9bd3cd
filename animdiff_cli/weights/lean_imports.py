"""Import diffusers and transformers without their parts that no command uses. For programs of their own."""

import ctypes
import importlib.metadata
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Unpack

from animdiff_cli.core.garbage import collection_paused
from animdiff_cli.core.stand_ins import module_with, standing_in

#: Both libraries import these when they find them. A render needs none: LoRAs are added here, weights are read and
#: placed here, and no scheduler uses beta sigmas. A torchvision that was built for another torch cannot be imported at
#: all.
UNUSED = ("accelerate", "peft", "scipy", "timm", "torchvision")
#: Packages that import all of their modules, hundreds of networks. A render uses one or two modules of each.
BARE = (
    "transformers.models",
    *(f"diffusers.models.{name}" for name in ("autoencoders", "controlnets", "transformers", "unets")),
)
#: what marks functions for `torch.compile` as they are defined; in blocks that are compiled here, none does
DYNAMO_MARKS = ("allow_in_graph", "assume_constant_result", "disable", "graph_break")
#: what renders; diffusers uses transformers for pipelines alone
NETWORKS = (
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.controlnets.controlnet",
    "diffusers.models.unets.unet_2d_condition",
)
TEXT_NETWORKS = ("transformers.models.clip.modeling_clip", "transformers.models.clip.tokenization_clip")


def import_networks() -> None:
    """Import the networks that render, without what they need for training, compiling and several machines.

    It takes about a quarter of the CPU time of importing them as usual. Does nothing if diffusers or transformers are
    imported already. If they cannot be imported this way, as other versions may not be, they are imported as usual.
    """
    if {"diffusers", "transformers"} & sys.modules.keys():
        return
    with collection_paused():
        try:
            with _lean():
                bare = {name: _bare(name) for name in BARE}
                _import(NETWORKS, {**bare, "transformers": None})
                _import(TEXT_NETWORKS, {**bare, **_bare_transformers()})
            return
        except Exception:  # of their own code: whatever it meets, the usual import decides
            for name in [name for name in sys.modules if name.partition(".")[0] in ("diffusers", "transformers")]:
                del sys.modules[name]
        _import(NETWORKS + TEXT_NETWORKS, {})


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
    import torch.distributed

    is_available, list_packages = torch.distributed.is_available, importlib.metadata.packages_distributions
    torch.distributed.is_available = lambda: False
    importlib.metadata.packages_distributions = lambda: _Packages(list_packages)
    marks = dict.fromkeys(DYNAMO_MARKS, _unmarked)
    try:
        with standing_in({**dict.fromkeys(UNUSED), "torch._dynamo": _bare("torch._dynamo", **marks)}):
            yield
    finally:
        torch.distributed.is_available = is_available
        importlib.metadata.packages_distributions = list_packages


def _import(names: Iterable[str], stand_ins: Mapping[str, ModuleType | None]) -> None:
    with standing_in(stand_ins):
        for name in names:
            import_module(name)


class _Packages(Mapping[str, list[str]]):
    """The distributions of each package, which are listed when they are looked at: both libraries ask, for few."""

    def __init__(self, list_packages: Callable[[], Mapping[str, list[str]]]) -> None:
        self._listed = cache(list_packages)

    def __getitem__(self, name: str) -> list[str]:
        return self._listed()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed())

    def __len__(self) -> int:
        return len(self._listed())


def _bare_transformers() -> dict[str, ModuleType]:
    """Return stand-ins for what reads the code of all networks, as transformers does when it is imported.

    Of `processing_utils`, which does so too, modules of networks use a name of Python.
    """
    return {
        "transformers": _bare("transformers", __version__=importlib.metadata.version("transformers")),
        "transformers.processing_utils": module_with("transformers.processing_utils", Unpack=Unpack),
    }


def _bare(name: str, **attributes: object) -> ModuleType:
    """Return a package whose modules can be imported, with `attributes` in place of what its `__init__` imports."""
    root, _, rest = name.partition(".")
    spec = PathFinder.find_spec(root)  # runs nothing
    folders = spec.submodule_search_locations if spec else None
    paths = [str(Path(folder, *rest.split("."))) for folder in folders or ()]
    return module_with(name, __path__=paths, **attributes)


def _unmarked(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
    """Return a function as it is. Without one, return a decorator that does so."""
    return _unmarked if function is None else function
