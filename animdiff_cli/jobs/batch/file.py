"""Read a batch file: YAML with a matrix or a list of jobs, JSON Lines, CSV, or one prompt a line."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.values import from_text
from animdiff_cli.config.yamlfile import LocatedYaml, parse_located_yaml, read_text_file
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import UsageError
from animdiff_cli.files.untrusted import parse_json
from animdiff_cli.jobs.batch.mistakes import Mistakes

#: keys of a job that are not settings of a render
JOB_KEYS = ("preset", "output", "formats")
SECTIONS = ("defaults", "matrix", "zip", "include", "exclude", "jobs", "output", "formats")
_YAML_START = re.compile(rf"(?:\A|\n)(?:---\s*\n)?(?:{'|'.join(SECTIONS)})\s*:")
_LINE_ENDS = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Value:
    """A value, and the line on which it stands."""

    value: Any
    line: int


@dataclass(frozen=True, slots=True)
class Entry:
    """The settings of one job, or of a part of one, as they are written."""

    line: int
    values: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A batch file, its parts unchecked."""

    name: str  # for messages
    defaults: Entry = field(default_factory=lambda: Entry(1))
    matrix: Mapping[str, Value] = field(default_factory=dict)  # the values of each key, as a list of `Value`
    zipped: Mapping[str, Value] = field(default_factory=dict)
    include: tuple[Entry, ...] = ()
    exclude: tuple[Entry, ...] = ()
    jobs: tuple[Entry, ...] = ()
    output: Value | None = None
    formats: Value | None = None


def parse_batch(text: str, name: str, mistakes: Mistakes) -> BatchFile:
    """Read a batch file. `name` is that of the file; its suffix tells the format, else the text itself does.

    Mistakes in parts of the file are added to `mistakes`. Raises `UsageError` for a file that cannot be read at all.
    """
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UsageError(f"{at(name, line)}: has a NUL character", hint="save it as UTF-8 text")
    suffix = PurePath(name).suffix.lower()
    if suffix in (".yaml", ".yml", ".json") or (suffix not in _TABLES and _YAML_START.search(text)):
        return _parse_yaml(text, name, mistakes)
    if suffix in (".csv", ".tsv"):
        jobs = _parse_csv(text, name, "\t" if suffix == ".tsv" else None, mistakes)
    elif suffix in (".jsonl", ".ndjson") or _first_line(text).startswith(('{"', '{ "', "{}")):
        jobs = _parse_json_lines(text, name, mistakes)
    else:
        jobs = tuple(Entry(line, {"prompt": Value(prompt.strip(), line)}) for line, prompt in _lines(text))
    if not jobs and not mistakes:
        raise UsageError(f"{name} has no jobs", hint=_hint_of(suffix))
    return BatchFile(name, jobs=jobs)


_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")


def read_values(name: str) -> list[str]:
    """Return the values in a text file, one a line. Empty lines and lines that begin with `#` are left out.

    Raises `NotFound` for a missing file, `UsageError` for one that cannot be read or has no values.
    """
    values = [line.strip() for _, line in _lines(read_text_file(Path(name)).removeprefix("\ufeff"))]
    if not values:
        raise UsageError(f"`{name}` is empty", hint="write one value a line")
    return values


def _hint_of(suffix: str) -> str:
    if suffix in (".csv", ".tsv"):
        return "write the keys into the first line, and a job into each other line"
    return 'write one prompt a line, or one object a line, as in `{"prompt": "a red rocket", "seed": 1}`'


def _parse_yaml(text: str, name: str, mistakes: Mistakes) -> BatchFile:
    located = parse_located_yaml(text, name)
    for key, line in located.duplicates:
        mistakes.add(UsageError(f"{at(name, line)}: `{key}` is given twice", hint="leave one of them out"))
    content = located.content
    if isinstance(content, list) and content:
        return BatchFile(name, jobs=_YamlParts(located, name, mistakes).entries())
    if not isinstance(content, dict):
        raise UsageError(f"{name}: has no keys and values", hint="`animdiff batch init` writes an example")
    for key in content:
        if key not in SECTIONS:
            mistakes.add(_unknown_section(name, located.line(key), str(key)))
    read = _YamlParts(located, name, mistakes)
    if "jobs" in content and ("matrix" in content or "zip" in content):
        mistakes.add(
            UsageError(
                f"{at(name, located.line('jobs'))}: `jobs` and `{'matrix' if 'matrix' in content else 'zip'}` cannot be"
                " combined",
                hint="write settings that belong together under `zip`, or further jobs under `include`",
            )
        )
    file = BatchFile(
        name,
        Entry(located.line("defaults"), read.mapping("defaults")),
        read.axes("matrix"),
        read.axes("zip"),
        read.entries("include"),
        read.entries("exclude"),
        read.entries("jobs"),
        *(Value(content[key], located.line(key)) if key in content else None for key in ("output", "formats")),
    )
    if not (file.jobs or file.matrix or file.zipped) and not mistakes:
        raise UsageError(
            f"{name} has no jobs", hint="write a `matrix` or `jobs`; `animdiff batch init` writes an example"
        )
    return file


@dataclass(frozen=True, slots=True)
class _YamlParts:
    """Reads the sections of a YAML file with their lines."""

    located: LocatedYaml
    name: str
    mistakes: Mistakes

    def mapping(self, *path: str | int) -> dict[str, Value]:
        """Return the keys and values at `path`; empty if there are none."""
        content = self._at(path)
        if content is None:
            return {}
        if not _has_keys(content):
            self._refuse(path, "must have keys and values", "write one `key: value` per line, as in `steps: 25`")
            return {}
        return {key: Value(value, self.located.line(*path, key)) for key, value in content.items()}

    def axes(self, section: str) -> dict[str, Value]:
        """Return the keys of a matrix. A list of values is a list of `Value`."""
        axes = self.mapping(section)
        for key, axis in axes.items():
            if isinstance(axis.value, list):
                lines = (self.located.line(section, key, number) for number in range(len(axis.value)))
                axes[key] = Value([Value(*pair) for pair in zip(axis.value, lines, strict=True)], axis.line)
        return axes

    def entries(self, *section: str) -> tuple[Entry, ...]:
        """Return the entries of a list of jobs. Those that are refused are left out."""
        content = self._at(section)
        if content is None:
            return ()
        if not isinstance(content, list):
            self._refuse(section, "must be a list", f"write `- prompt: a red rocket` below `{section[0]}:`")
            return ()
        paths: list[tuple[str | int, ...]] = [(*section, number) for number in range(len(content))]
        entries = [Entry(self.located.line(*path), self.mapping(*path)) for path in paths]
        return tuple(entry for entry, value in zip(entries, content, strict=True) if _has_keys(value))

    def _at(self, path: Sequence[str | int]) -> Any:
        content: Any = self.located.content
        for part in path:
            content = content.get(part) if isinstance(content, dict) else content[part]
        return content

    def _refuse(self, path: Sequence[str | int], what: str, hint: str) -> None:
        place = at(self.name, self.located.line(*path))
        what = f"`{path[0]}` {what}" if isinstance(path[0], str) else f"a job {what}"
        self.mistakes.add(UsageError(f"{place}: {what}", hint=hint))


def _has_keys(content: object) -> bool:
    return isinstance(content, dict) and all(isinstance(key, str) for key in content)


def _unknown_section(name: str, line: int, key: str) -> UsageError:
    from animdiff_cli.config.settings import settings_of

    if key in settings_of(GenerateConfig) or key == "preset":
        return UsageError(f"{at(name, line)}: `{key}` is a setting", hint="write it below `defaults:` or `matrix:`")
    hint = did_you_mean(key, SECTIONS, otherwise=f"keys are {', '.join(SECTIONS)}")
    return UsageError(f"{at(name, line)}: unknown key `{key}`", hint=hint)


def _parse_json_lines(text: str, name: str, mistakes: Mistakes) -> tuple[Entry, ...]:
    entries = []
    for number, line in _lines(text, comments=False):
        with mistakes.collected(at(name, number)):
            entries.append(Entry(number, {key: Value(value, number) for key, value in _object(line).items()}))
    return tuple(entries)


def _object(line: str) -> dict[str, Any]:
    example = 'write one object a line, as in `{"prompt": "a red rocket", "seed": 1}`'
    try:
        record = parse_json(line, object_pairs_hook=_without_duplicates)
    except ValueError as error:
        reason = error.msg.lower() if isinstance(error, json.JSONDecodeError) else str(error)
        raise UsageError(f"not JSON: {reason}", hint=example) from error
    if not isinstance(record, dict):
        raise UsageError("not an object", hint=example)
    return record


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise UsageError(f"`{key}` is given twice", hint="leave one of them out")
        seen.add(key)
    return dict(pairs)


def _parse_csv(text: str, name: str, delimiter: str | None, mistakes: Mistakes) -> tuple[Entry, ...]:
    first = _first_line(text)
    if delimiter is None:  # spreadsheets write semicolons where the comma is the decimal separator
        delimiter = ";" if ";" in first and "," not in first else ","
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True, delimiter=delimiter)
    entries: list[Entry] = []
    header: list[str] = []
    line = 1
    try:
        for row in reader:
            start, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = [cell.strip() for cell in row]
                _check_header(header, at(name, start), mistakes)
            elif len(row) > len(header):
                message = f"{at(name, start)}: {len(row)} values for {len(header)} columns"
                mistakes.add(UsageError(message, hint='quote values that contain commas: `"a fox, running"`'))
            else:
                entries.append(Entry(start, _cells(header, row, start, at(name, start), mistakes)))
    except csv.Error as error:
        mistakes.add(UsageError(f"{at(name, line)}: {error}", hint='write a quote inside of quotes as `""`'))
    return tuple(entries)


def _check_header(header: Sequence[str], place: str, mistakes: Mistakes) -> None:
    for column, key in enumerate(header, start=1):
        if not key:
            mistakes.add(UsageError(f"{place}: column {column} has no name", hint="name it, or remove the column"))
        elif key in header[: column - 1]:
            mistakes.add(UsageError(f"{place}: `{key}` is given twice", hint="leave one of the columns out"))


def _cells(header: Sequence[str], row: Sequence[str], line: int, place: str, mistakes: Mistakes) -> dict[str, Value]:
    """Read the cells of a row like the values of `--set`. An empty cell is left out."""
    values = {}
    for key, cell in zip(header, row, strict=False):
        if cell.strip():
            with mistakes.collected(place):
                value = cell.strip() if key in JOB_KEYS else from_text(GenerateConfig, key, cell.strip())
                values[key] = Value(value, line)
    return values


def _lines(text: str, *, comments: bool = True) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, with their numbers. `comments`: leave out lines that begin with `#`."""
    for number, line in enumerate(_LINE_ENDS.split(text), start=1):
        if line.strip() and not (comments and line.lstrip().startswith("#")):
            yield number, line


def _first_line(text: str) -> str:
    return next((line.strip() for _, line in _lines(text)), "")


def at(name: str, line: int) -> str:
    """Return how messages name a line of a file."""
    return f"{name}, line {line}"
