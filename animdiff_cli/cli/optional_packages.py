"""Optional packages of diffusers and transformers that no command needs, and that are slow to import."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec

#: Imported when diffusers and transformers find them, which takes 1.0 of the 4.4 s of CPU time of both.
#: A render needs none: LoRAs are added here, weights are read and placed here, and no scheduler uses beta sigmas.
UNUSED = frozenset({"accelerate", "peft", "scipy"})


@contextmanager
def without_unused_packages() -> Iterator[None]:
    """Let diffusers and transformers not find the packages in `UNUSED` when they are imported inside this context.

    They ask `importlib.util.find_spec` once, and remember the answer. Importing the packages still works. For the
    command line alone: a Python program that imports `animdiff_cli` may use them.
    """
    find_spec = importlib.util.find_spec

    def find_used(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name.partition(".")[0] in UNUSED else find_spec(name, package)

    importlib.util.find_spec = find_used
    try:
        yield
    finally:
        importlib.util.find_spec = find_spec
