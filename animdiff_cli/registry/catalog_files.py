"""The files of the catalog. Reading them as YAML and checking them takes a tenth of a second; a search takes none."""

from pathlib import Path

from animdiff_cli import paths

CATALOG = Path(__file__).with_name("catalog.yaml")  # ships with the program


def user_catalog_path() -> Path:
    """Return the path of the user catalog: a YAML list with the schema of the shipped one."""
    return paths.config_dir() / "catalog.yaml"


def may_have_hash(sha256: str) -> bool:
    """Return whether a model of the catalog may have this hash. False if none has."""
    return any(path.is_file() and sha256.encode() in path.read_bytes() for path in (CATALOG, user_catalog_path()))


def may_have_path(file: Path) -> bool:
    """Return whether a model of the catalog may be at this path, used in place. False if none is."""
    return file.resolve().is_relative_to(paths.pocket_dir().resolve()) or user_catalog_path().is_file()
