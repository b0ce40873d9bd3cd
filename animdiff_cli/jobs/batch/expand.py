"""Expand a batch file into its jobs: products and rows of values, with what is included and excluded."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from animdiff_cli.config.presets import load_preset
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.settings import settings_of
from animdiff_cli.config.values import check_value
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.core.text import printable
from animdiff_cli.errors import AnimdiffError, UsageError
from animdiff_cli.jobs.batch.file import JOB_KEYS, BatchFile, Entry, Value, at, read_values
from animdiff_cli.jobs.batch.mistakes import Mistakes

DEFAULT_LIMIT = 10_000  # jobs of one batch

_RANGE = re.compile(r"\s*(\d{1,20})\s*\.\.\s*(\d{1,20})\s*")

#: values of one combination by key
Row = dict[str, Value]


@dataclass(frozen=True, slots=True)
class JobEntry:
    """The checked settings of one job, without defaults."""

    name: str  # `night.yaml:7, seed 2`
    values: Mapping[str, Value]


def expand(file: BatchFile, limit: int, mistakes: Mistakes) -> list[JobEntry]:
    """List the jobs of a file in its order: the last key of the matrix changes fastest, rows of `zip` slowest.

    Mistakes are added to `mistakes`; entries that have some are left out. Raises `UsageError` for more than `limit`
    jobs, before they are listed.
    """
    check = _Checks(file.name, mistakes)
    matrix = {key: check.axis("matrix", key, value, limit) for key, value in file.matrix.items()}
    zipped = {key: check.axis("zip", key, value, limit) for key, value in file.zipped.items()}
    for key in zipped.keys() & matrix.keys():
        check.refuse(file.zipped[key].line, f"`{key}` is in `matrix` and in `zip`", "leave it out of one of them")
    rows = _zipped_rows(zipped, file, check)
    include, exclude, jobs = (
        [(entry.line, row) for entry in entries if (row := check.row(entry)) is not None]
        for entries in (file.include, file.exclude, file.jobs)
    )
    combinations = prod(map(len, matrix.values())) * len(rows) if matrix or zipped else 0
    count = combinations + len(include) + len(jobs)
    if count > limit:
        line = min((value.line for value in (*file.matrix.values(), *file.zipped.values())), default=1)
        raise UsageError(
            f"{at(file.name, line)}: {count:,} jobs, and at most {limit:,} are allowed",
            hint="shorten the lists" + (f", or add `--limit {count}`" if count <= 100 * DEFAULT_LIMIT else ""),
        )
    if not (matrix or zipped):
        _refuse_without_matrix(file, check)
        return [JobEntry(f"{file.name}:{line}", row) for line, row in jobs]
    axes = {**zipped, **matrix}
    listed = [{**row, **dict(zip(matrix, values, strict=True))} for row in rows for values in product(*matrix.values())]
    listed = _without(listed, exclude, axes, check)
    listed = _with_included(listed, include, axes, check)
    return [JobEntry(_name(file, row, axes), row) for row in listed]


def checked_defaults(file: BatchFile, mistakes: Mistakes) -> Row | None:
    """Return the checked settings of all jobs. Mistakes are added to `mistakes`.

    Settings that are refused are left out; None if no job can be checked without one of them.
    """
    check = _Checks(file.name, mistakes)
    settings = dict(file.defaults.values)
    for key in ("output", "formats"):
        if key in settings:
            check.refuse(settings.pop(key).line, f"`{key}` is not a setting", "write it beside `defaults:`")
    checked = {key: found for key, value in settings.items() if (found := check.value(key, value)) is not None}
    refused = settings.keys() - checked.keys()
    return None if refused & {"prompt", "preset", *WEIGHT_SETTINGS} else checked


def checked_names(file: BatchFile, mistakes: Mistakes) -> BatchFile:
    """Return the file with its `output` and `formats` checked. Mistakes are added to `mistakes`.

    What is refused is left out, and so is a key without a value.
    """
    check = _Checks(file.name, mistakes)

    def checked(key: str, written: Value | None) -> Value | None:
        return None if written is None or written.value is None else check.value(key, written)

    return replace(file, output=checked("output", file.output), formats=checked("formats", file.formats))


@dataclass(frozen=True, slots=True)
class _Checks:
    """Checks values one by one and adds what is wrong to `mistakes`."""

    source: str
    mistakes: Mistakes

    def refuse(self, line: int, message: str, hint: str) -> None:
        self.mistakes.add(UsageError(f"{at(self.source, line)}: {message}", hint=hint))

    def row(self, entry: Entry) -> Row | None:
        """Return the checked values of one entry; None if any is refused."""
        checked = {key: self.value(key, value) for key, value in entry.values.items()}
        right = {key: value for key, value in checked.items() if value is not None}
        return right if len(right) == len(checked) else None

    def value(self, key: str, value: Value) -> Value | None:
        """Return one checked value; None if it is refused."""
        try:
            return Value(_checked(key, value.value, at(self.source, value.line)), value.line)
        except AnimdiffError as error:
            self.mistakes.add(error)
            return None

    def axis(self, section: str, key: str, written: Value, limit: int) -> list[Value]:
        """Return the checked values of one key of the matrix."""
        if key not in settings_of(GenerateConfig) and key != "preset" and "." not in key:
            hint = did_you_mean(key, settings_of(GenerateConfig), otherwise="see `animdiff config show`")
            self.refuse(written.line, f"unknown key `{key}` in `{section}`", hint)
            return []
        values = self._listed(section, key, written, limit)
        checked = [found for value in values if (found := self.value(key, value)) is not None]
        seen: set[str] = set()
        for value in checked:
            if repr(value.value) in seen:
                self.refuse(value.line, f"`{_shown(value.value)}` is twice in `{section}.{key}`", "leave it out once")
            seen.add(repr(value.value))
        return checked

    def _listed(self, section: str, key: str, written: Value, limit: int) -> list[Value]:
        content = written.value
        ends = _RANGE.fullmatch(content) if isinstance(content, str) and _is_whole_number(key) else None
        if ends:
            first, last = int(ends[1]), int(ends[2])
            if not 0 < last - first + 1 <= limit:
                hint = f"write from 1 to {limit:,} numbers, as in `{key}: 1..20`"
                self.refuse(written.line, f"`{content}` is {max(last - first + 1, 0):,} values", hint)
                return []
            return [Value(number, written.line) for number in range(first, last + 1)]
        if isinstance(content, list) and content and isinstance(content[0], Value):
            return content
        if isinstance(content, dict) and set(content) == {"file"} and isinstance(content["file"], str):
            return self._of_file(content["file"], written.line, limit)
        what = "is empty" if content in ([], None) else "must be a list"
        example = "1..20` or `seed: [1, 2]" if _is_whole_number(key) else f"[{_shown(content) or '…'}]"
        self.refuse(written.line, f"`{section}.{key}` {what}", f"write `{key}: {example}`")
        return []

    def _of_file(self, name: str, line: int, limit: int) -> list[Value]:
        values: list[str] = []
        with self.mistakes.collected(at(self.source, line)):
            values = read_values(name)
        if len(values) > limit:
            self.refuse(line, f"`{name}` has {len(values):,} values, and at most {limit:,} are allowed", "shorten it")
            return []
        return [Value(text, line) for text in values]


def _zipped_rows(zipped: Mapping[str, Sequence[Value]], file: BatchFile, check: _Checks) -> list[Row]:
    """Return the rows of `zip`: one empty row if it has no keys."""
    if not zipped:
        return [{}]
    lengths = {len(values) for values in zipped.values()}
    if len(lengths) > 1:
        sizes = ", ".join(f"`{key}` {len(values)}" for key, values in zipped.items())
        line = min(value.line for value in file.zipped.values())
        check.refuse(line, f"the lists of `zip` differ in length: {sizes}", "write one value of each key for every row")
        return []
    return [dict(zip(zipped, values, strict=True)) for values in zip(*zipped.values(), strict=True)]


def _without(
    rows: list[Row], exclude: Sequence[tuple[int, Row]], axes: Mapping[str, object], check: _Checks
) -> list[Row]:
    """Leave out the combinations that agree with an entry of `exclude` in all its keys."""
    is_whole = not check.mistakes  # else a value that an entry names may be missing
    for line, entry in exclude:
        if unknown := [key for key in entry if key not in axes]:
            check.refuse(line, f"`{unknown[0]}` of `exclude` is not in the matrix", f"keys are {', '.join(axes)}")
            continue
        left = [row for row in rows if not _agree(row, entry, entry)]
        if len(left) == len(rows) and is_whole:
            check.refuse(line, "this entry of `exclude` matches no combination", "leave it out, or correct its values")
        rows = left
    return rows


def _with_included(
    rows: list[Row], include: Sequence[tuple[int, Row]], axes: Mapping[str, object], check: _Checks
) -> list[Row]:
    """Add the settings of each entry to the combinations that it agrees with; without any, it is a job of its own."""
    rows, own = list(rows), []
    for line, entry in include:
        shared = [key for key in entry if key in axes]
        if not shared:
            hint = "write what is the same for all jobs below `defaults:`"
            check.refuse(line, "this entry of `include` has no key of the matrix", hint)
        matching = [number for number, row in enumerate(rows) if _agree(row, entry, shared)]
        for number in matching if shared else ():
            rows[number] = {**rows[number], **entry}
        if not matching:
            own.append(entry)
    return [*rows, *own]


def _agree(row: Row, entry: Row, keys: Iterable[str]) -> bool:
    return all(key in row and row[key].value == entry[key].value for key in keys)


def _refuse_without_matrix(file: BatchFile, check: _Checks) -> None:
    for section, entries in (("include", file.include), ("exclude", file.exclude)):
        if entries:
            check.refuse(entries[0].line, f"`{section}` needs a `matrix` or `zip`", "write the jobs below `jobs:`")


def _checked(key: str, value: object, place: str) -> object:
    """Check one value of a job. Raises `AnimdiffError` that names the place."""
    if " " in key.strip():
        raise UsageError(f"{place}: unknown key `{_shown(key)}`", hint="put text with a comma or a colon in quotes")
    if key not in JOB_KEYS:
        return check_value(GenerateConfig, key, value, place)
    if key == "formats":
        names = value.replace(",", " ").split() if isinstance(value, str) else value
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise UsageError(f"{place}: `formats` must be a list of formats", hint="for example `formats: [gif, mp4]`")
        return names
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{place}: `{key}` must be text, got `{_shown(value)}`", hint="put text in quotes")
    if key == "preset":
        try:
            load_preset(value)
        except AnimdiffError as error:
            raise type(error)(f"{place}: {error}", hint=error.hint) from error
    return value


def _name(file: BatchFile, row: Row, axes: Mapping[str, Sequence[Value]]) -> str:
    """Name a combination: the line of its prompt, and the other values that tell it apart."""
    first = row.get("prompt") or next(iter(row.values()))
    alone = [value.line for value in axes.get("prompt", ())].count(first.line) <= 1
    keys = [key for key, values in axes.items() if len(values) > 1 and key in row and not (key == "prompt" and alone)]
    return ", ".join([f"{file.name}:{first.line}", *(f"{key} {_shown(row[key].value)}" for key in keys)])


def _is_whole_number(key: str) -> bool:
    setting = settings_of(GenerateConfig).get(key)
    return setting is not None and setting.value_type is int and not setting.is_list


def _shown(value: object) -> str:
    """Return a value on one short line."""
    if isinstance(value, Value):
        value = value.value
    if isinstance(value, (list, tuple)):
        text = ", ".join(map(_shown, value)) or "none"
    else:
        text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    text = printable(text)
    return text if len(text) <= 40 else f"{text[:39]}…"
