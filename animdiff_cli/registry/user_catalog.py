"""A person's own catalog, edited: entries are added and taken out, and what else they wrote there stays as it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from animdiff_cli.config.yamlfile import parse_yaml
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.atomic import atomic_write_text
from animdiff_cli.files.os_errors import readable_failures
from animdiff_cli.registry.catalog import CatalogEntry, check_catalog, load_catalog, user_catalog

HEADER = "# Your own models. Same schema as the shipped catalog; `animdiff models add` writes here, and so may you.\n"


def add_entry(entry: CatalogEntry, *, overwrite: bool = False) -> Path:
    """Write an entry into a person's own catalog; returns the file.

    Raises UsageError for a name that is taken, unless `overwrite`: then an entry of one's own is replaced, and one
    of the shipped catalog stands back.
    """
    path = user_catalog()
    with _editing(path) as text:
        names = [name for name in (entry.alias, *entry.aliases) if name in load_catalog()]
        if names and not overwrite:
            taken = load_catalog().find(names[0])
            raise UsageError(
                f"the alias `{names[0]}` is taken: {taken.description}", hint="choose another, or add `--overwrite`"
            )
        fresh = _appended(_without(text, entry.alias, path), entry, path)
        if check_catalog(parse_yaml(fresh, str(path)), path).find(entry.alias) != entry:
            raise UsageError(f"`{entry.alias}` holds characters that YAML does not keep", hint="leave them out")
        _write(path, fresh)
    return path


def remove_entry(alias: str) -> Path:
    """Take an entry out of a person's own catalog; returns the file. Raises NotFound where it has none of this name."""
    path = user_catalog()
    if alias not in load_catalog().own:
        raise NotFound(f"`{alias}` is not in your catalog", hint=f"what is in it: {path}")
    with _editing(path) as text:
        _write(path, _without(text, alias, path))
    return path


def as_yaml(entry: CatalogEntry) -> str:
    """Write an entry as it stands in a catalog file, without what it says nothing about."""
    fields = entry.model_dump(mode="json", exclude_defaults=True)
    dumped: str = yaml.safe_dump([fields], sort_keys=False, allow_unicode=True, width=120)
    return dumped


@contextmanager
def _editing(path: Path) -> Iterator[str]:
    """Yield what the file holds, one process at a time."""
    with readable_failures("write", path, hint="choose another folder: `export ANIMDIFF_CONFIG=…`"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            yield path.read_text(encoding="utf-8") if path.exists() else HEADER


def _appended(text: str, entry: CatalogEntry, path: Path) -> str:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if isinstance(node, yaml.SequenceNode) and node.flow_style:  # `[{…}, {…}]`: nothing can be put below it
        content = parse_yaml(text, str(path))
        return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True)) + as_yaml(entry)
    return f"{text.rstrip()}\n\n{as_yaml(entry)}" if text.strip() else as_yaml(entry)


def _without(text: str, alias: str, path: Path) -> str:
    """Cut the lines of one entry out; comments and everything else stay."""
    content: Any = parse_yaml(text, str(path)) or []
    check_catalog(content, path)
    at = next((index for index, item in enumerate(content) if item["alias"] == alias), None)
    if at is None:
        return text
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    items = node.value if node is not None else []
    # by characters: YAML and Python disagree on what ends a line
    starts = [text.rfind("\n", 0, item.start_mark.index) + 1 for item in items]
    if any(text[start : item.start_mark.index].strip() != "-" for start, item in zip(starts, items, strict=True)):
        kept = [item for index, item in enumerate(content) if index != at]  # written in one line, `[{…}, {…}]`
        return str(yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)) if kept else HEADER
    stop = starts[at + 1] if at + 1 < len(starts) else len(text)
    lines = text[starts[at] : stop].split("\n")
    kept_below: list[str] = []
    while len(lines) > 1 and _is_comment(lines[-1]):  # those before the next entry belong to it
        kept_below.insert(0, lines.pop())
    return _joined(text[: starts[at]], "\n".join(kept_below) + text[stop:])


def _is_comment(line: str) -> bool:
    return not line.strip() or line.startswith("#")


def _joined(before: str, after: str) -> str:
    """Join what stood around an entry, with one blank line for two."""
    return before + (after.lstrip("\n") if before.endswith("\n\n") else after)


def _write(path: Path, text: str) -> None:
    """Put the file in place when it is whole, and only if it can be read again."""
    check_catalog(parse_yaml(text, str(path)), path)
    atomic_write_text(path, text)
