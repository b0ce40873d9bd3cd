"""Shell completion of values: models, presets, schedulers, formats. Imports nothing heavy and never fails."""

from collections.abc import Callable, Iterable
from typing import get_args

from animdiff_cli.core.choices import Kind, Scheduler
from animdiff_cli.core.formats import FORMATS
from animdiff_cli.errors import AnimdiffError

Complete = Callable[[str], list[str]]


def values(list_values: Callable[[], Iterable[str]]) -> Complete:
    """Return a completion of the values that a function lists. A failure completes nothing."""

    def complete(incomplete: str) -> list[str]:
        try:
            return [value for value in dict.fromkeys(list_values()) if value.startswith(incomplete)]
        except (AnimdiffError, OSError):
            return []

    return complete


def models(kind: Kind | None = None) -> Complete:
    """Return a completion of aliases in the catalog and of names in the model folders, of one kind or all."""

    def names() -> Iterable[str]:
        from animdiff_cli.registry.catalog import load_catalog
        from animdiff_cli.registry.model_dirs import model_dirs

        yield from (entry.alias for entry in load_catalog().entries if kind in (None, entry.kind))
        yield from (found.name for folder in model_dirs() for found in folder.weights if kind in (None, found.kind))

    return values(names)


def _preset_names() -> Iterable[str]:
    from animdiff_cli.config.presets import preset_names

    return preset_names()


def _fetchable() -> Iterable[str]:
    from animdiff_cli.fetch.items import GROUPS
    from animdiff_cli.registry.catalog import load_catalog

    yield from (entry.alias for entry in load_catalog().entries if entry.sources)
    yield from GROUPS


fetchable = values(_fetchable)  # aliases with a source, and groups
presets = values(_preset_names)
schedulers = values(lambda: get_args(Scheduler))
formats = values(lambda: FORMATS)
