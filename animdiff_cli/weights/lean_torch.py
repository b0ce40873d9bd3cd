"""Import torch without its Python functions for the `meta` device, a fifth of its import. For programs of their own."""

import importlib.metadata
import sys
from collections.abc import Sequence
from copy import copy
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType

from animdiff_cli.core.stand_ins import Deferred, standing_in

#: these functions; building networks on that device needs none of them
META_FUNCTIONS = "torch._meta_registrations"
#: what they import, and what cannot be imported before them
AFTER_META_FUNCTIONS = ("torch._decomp", "torch._refs")


def import_torch() -> None:
    """Import torch; as usual if it is not of the kind that is known to compute the same without these functions.

    They are imported when something needs them, such as the compiler.
    """
    if "torch" in sys.modules or not is_known(_version()):
        import torch

        return
    with standing_in({META_FUNCTIONS: Deferred(META_FUNCTIONS)}):
        import torch
    import torch._prims  # noqa: F401  # they import it; torch makes no generator without it

    sys.meta_path.insert(0, _FunctionsFirst())


def import_meta_functions() -> None:
    """Import the functions that were left out. What computes on the `meta` device needs them."""
    import_module(META_FUNCTIONS)


def is_known(version: str) -> bool:
    """Return whether torch computes the same without these functions. In other versions, more may depend on them.

    >>> is_known("2.13.0+cpu"), is_known("2.13.0"), is_known("2.14.0+cpu")
    (True, False, False)
    """
    return version.startswith("2.13.") and version.endswith("+cpu")


def _version() -> str:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""


class _FunctionsFirst:
    """Finds no module by itself. Imports the functions before the first module that cannot be imported before them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in AFTER_META_FUNCTIONS or META_FUNCTIONS in sys.modules:
            return None
        import_meta_functions()
        module = sys.modules[name]  # which they have imported
        spec = copy(module.__spec__)
        if spec:
            spec.loader = _Imported()
        module.__spec__ = spec  # Python loads by the spec of the module, once it is there
        return spec


class _Imported(Loader):
    """Leaves a module as it is that is imported already."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        return
