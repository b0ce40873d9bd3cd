"""The card of a weight file, as lines to read."""

from collections.abc import Iterator

from animdiff_cli.registry.catalog import load_catalog
from animdiff_cli.weights.info import WeightsInfo

#: metadata of trainers can be pages long
MAX_METADATA = 100


def card_lines(info: WeightsInfo) -> Iterator[tuple[str, str]]:
    """List what is known under its name; what is not known is left out."""
    known = {
        "kind": info.kind,
        "base": info.base,
        "version": info.version,
        "format": info.format,
        "family": info.family,
        "rank": info.rank,
        "dtype": info.dtype,
        "parameters": f"{info.parameters:,}",
        "tensors": info.tensors,
        "max frames": info.max_frames,
        "container": info.container,
        "goes with": info.goes_with,
    }
    yield from ((name, str(value)) for name, value in known.items() if value is not None)
    yield from (("note", note) for note in info.notes)
    for key, value in sorted(info.metadata.items()):
        short = value if len(value) <= MAX_METADATA else f"{value[:MAX_METADATA]}… ({len(value)} characters)"
        yield f"  {key}", short


def alias_of(sha256: str) -> str | None:
    """Find the catalog's name for a file by its hash."""
    return next((entry.alias for entry in load_catalog().entries if entry.sha256 == sha256), None)
