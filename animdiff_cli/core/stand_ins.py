"""Modules that stand in for others while a library is imported, so that it does not import what is not used."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


@contextmanager
def standing_in(modules: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Let imports find `modules` by name inside this context, in place of those that are not imported yet.

    They find no module where None stands in for it.
    """
    new = {name: module for name, module in modules.items() if name not in sys.modules}
    sys.modules.update(new)  # type: ignore[arg-type]  # Python's own way to say that there is no such module
    try:
        yield
    finally:
        for name, module in new.items():
            if name in sys.modules and sys.modules[name] is module:
                del sys.modules[name]


def module_with(name: str, **attributes: object) -> ModuleType:
    """Return a module with some attributes."""
    module = ModuleType(name)
    vars(module).update(attributes)
    return module


#: transformers imports it, if it is installed, for nothing that is used here. Beside another torch than the one it was
#: built for, it cannot be imported
TORCHVISION = "torchvision"


def hide_torchvision() -> None:
    """Let imports find no torchvision, in a program of this package alone."""
    sys.modules.setdefault(TORCHVISION, None)  # type: ignore[arg-type]


def hide_broken_torchvision() -> None:
    """Let imports find no torchvision if it cannot be imported. Does nothing once transformers is imported."""
    if "transformers" in sys.modules or TORCHVISION in sys.modules or not find_spec(TORCHVISION):
        return
    try:
        import_module(TORCHVISION)  # as transformers does
    except Exception:  # a RuntimeError of torch, an OSError of a library
        hide_torchvision()


def show_torchvision() -> None:
    """Undo `hide_torchvision`, for a package that needs it."""
    if sys.modules.get(TORCHVISION, sys) is None:
        del sys.modules[TORCHVISION]
