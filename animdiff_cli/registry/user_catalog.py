"""Edit the user catalog: add and remove entries, keep comments and formatting."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from animdiff_cli.config.yamlfile import parse_yaml, read_text_file
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.atomic import atomic_write_text
from animdiff_cli.files.os_errors import readable_failures
from animdiff_cli.registry.catalog import CatalogEntry, check_catalog, load_catalog
from animdiff_cli.registry.catalog_files import user_catalog_path

HEADER = "# Your own models, in the schema of the shipped catalog. `animdiff models add` edits this file; so may you.\n"


def add_entry(entry: CatalogEntry, *, overwrite: bool = False) -> Path:
    """Write an entry to the user catalog and return the catalog's path.

    Raises UsageError for an alias in use, unless `overwrite`: then a user entry is replaced, and a shipped entry is
    shadowed.
    """
    path = user_catalog_path()
    with _editing(path) as text:
        names = [name for name in (entry.alias, *entry.aliases) if name in load_catalog()]
        if names and not overwrite:
            taken = load_catalog().find(names[0])
            message = f"the alias `{names[0]}` is in use: {taken.description}"
            raise UsageError(message, hint="choose another, or add `--overwrite`")
        fresh = _appended(_without(text, entry.alias, path), entry, path)
        if check_catalog(parse_yaml(fresh, str(path)), path).find(entry.alias) != entry:
            raise UsageError(f"`{entry.alias}` contains characters that YAML cannot store", hint="remove them")
        _write(path, fresh)
    return path


def remove_entry(alias: str) -> Path:
    """Remove an entry from the user catalog and return the catalog's path. Raises NotFound for an unknown alias."""
    path = user_catalog_path()
    if alias not in load_catalog().user_aliases:
        raise NotFound(f"`{alias}` is not in your catalog", hint=f"see {path}")
    with _editing(path) as text:
        _write(path, _without(text, alias, path))
    return path


def as_yaml(entry: CatalogEntry) -> str:
    """Format an entry as in a catalog file, without default values."""
    fields = entry.model_dump(mode="json", exclude_defaults=True)
    dumped: str = yaml.safe_dump([fields], sort_keys=False, allow_unicode=True, width=120)
    return dumped


@contextmanager
def _editing(path: Path) -> Iterator[str]:
    """Yield the file's text under a lock that other processes respect."""
    with readable_failures("write", path, hint="choose another folder: `export ANIMDIFF_CONFIG=…`"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            yield read_text_file(path) if path.exists() else HEADER


def _appended(text: str, entry: CatalogEntry, path: Path) -> str:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if isinstance(node, yaml.SequenceNode) and node.flow_style:  # `[{…}, {…}]` cannot be appended to
        content = parse_yaml(text, str(path))
        return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True)) + as_yaml(entry)
    return f"{text.rstrip()}\n\n{as_yaml(entry)}" if text.strip() else as_yaml(entry)


def _without(text: str, alias: str, path: Path) -> str:
    """Remove the lines of one entry. Comments and all other lines are kept."""
    content: Any = parse_yaml(text, str(path)) or []
    check_catalog(content, path)
    at = next((index for index, item in enumerate(content) if item["alias"] == alias), None)
    if at is None:
        return text
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    items = node.value if node is not None else []
    # by character index: YAML and Python disagree on what ends a line
    starts = [text.rfind("\n", 0, item.start_mark.index) + 1 for item in items]
    if any(text[start : item.start_mark.index].strip() != "-" for start, item in zip(starts, items, strict=True)):
        kept = [item for index, item in enumerate(content) if index != at]  # flow style, `[{…}, {…}]`
        return str(yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)) if kept else HEADER
    stop = starts[at + 1] if at + 1 < len(starts) else len(text)
    lines = text[starts[at] : stop].split("\n")
    kept_below: list[str] = []
    while len(lines) > 1 and _is_comment(lines[-1]):  # comments above the next entry belong to it
        kept_below.insert(0, lines.pop())
    return _joined(text[: starts[at]], "\n".join(kept_below) + text[stop:])


def _is_comment(line: str) -> bool:
    return not line.strip() or line.startswith("#")


def _joined(before: str, after: str) -> str:
    """Join the text around a removed entry, with one blank line instead of two."""
    return before + (after.lstrip("\n") if before.endswith("\n\n") else after)


def _write(path: Path, text: str) -> None:
    """Write the file atomically, after checking that it can be read again."""
    check_catalog(parse_yaml(text, str(path)), path)
    atomic_write_text(path, text)
