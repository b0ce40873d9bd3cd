"""Modules that stand in for others while a library is imported, so that it does not import what is not used."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
