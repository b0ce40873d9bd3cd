"""Read YAML without the surprises of YAML 1.1.

In YAML 1.1 `010` is eight, `1:30` is ninety, `no` is false, and duplicate keys are allowed. Here numbers are decimal,
only `true` and `false` are booleans, everything else is text, and duplicate keys are refused. So are other types than
those of JSON, and files that are deep or large once their aliases are replaced.
"""

import re
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.files.os_errors import REASONS
from animdiff_cli.files.untrusted import check_nesting
from animdiff_cli.storage.inputs import read_input
from animdiff_cli.storage.location import Location, location

try:
    from yaml import CSafeLoader as _Base  # ten times faster; missing if PyYAML was built without libyaml
except ImportError:
    from yaml import SafeLoader as _Base  # type: ignore[assignment]

_TYPES = ("null", "bool", "int", "float", "str", "seq", "map")
#: (type, pattern, first characters)
_SCALARS = (
    ("bool", r"true|false", "tf"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"null|~|", ["n", "~", ""]),
)

MAX_VALUES = 1_000_000  # a catalog of 5,000 models has 100,000
MAX_DIGITS = 1000  # of a number; Python refuses more than 4300


class _TooLarge(Exception):
    """Values that are long, deep, many, or contain themselves. Arguments: what follows the source, and a hint."""


class _Loader(_Base):
    """PyYAML's safe loader with `_SCALARS`."""

    # PyYAML's own names. The other tags construct dates, bytes and sets
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    yaml_constructors = {  # noqa: RUF012
        tag: construct
        for tag, construct in _Base.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in _TYPES
    }

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Do not merge mappings: `!!merge` can repeat them without end."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                self.report_duplicate(key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_int(self, node: yaml.ScalarNode) -> int:
        """Read a number. Refuses one that is longer than any setting."""
        if len(node.value) > MAX_DIGITS:
            where = f", line {node.start_mark.line + 1}"
            raise _TooLarge(f"{where}: a number of {len(node.value):,} digits", "no setting needs such a number")
        return int(self.construct_yaml_int(node))

    def report_duplicate(self, key: yaml.ScalarNode) -> None:
        """Refuse a key that is given twice."""
        raise yaml.MarkedYAMLError(None, None, f"`{key.value}` is given twice", key.start_mark)


class _LenientLoader(_Loader):
    """Lists the keys that are given twice, with their lines; the last one counts."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.duplicates: list[tuple[str, int]] = []

    def report_duplicate(self, key: yaml.ScalarNode) -> None:
        self.duplicates.append((key.value, key.start_mark.line + 1))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_int)
for _name, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"), _first)


def read_yaml(path: Location) -> Any:
    """Read a YAML or JSON file or pipe, or a file on a storage system. Integers are exact.

    Raises NotFound for a missing file, UsageError with the line for invalid YAML.
    """
    return parse_yaml(read_text_file(path), str(location(path)))


def read_text_file(path: Location) -> str:
    """Return the text of a file. Raises as `read_yaml`, and `NetworkError` for a storage system."""
    path = location(path)
    try:
        return read_input(path).decode("utf-8")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise NotFound(f"no file `{path}`", hint="check the path") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: cannot be read as text: {error}", hint="save it as UTF-8 text") from error
    except OSError as error:
        reason = REASONS.get(error.errno or 0, (error.strerror or str(error)).lower())
        raise UsageError(f"cannot read `{path}`: {reason}", hint="check the path and its permissions") from error
    except ValueError as error:
        raise UsageError(f"cannot read `{path}`: {error}", hint="give a text file") from error


@dataclass(frozen=True, slots=True)
class LocatedYaml:
    """The content of a YAML text, and where its parts stand."""

    content: Any
    duplicates: tuple[tuple[str, int], ...]  # keys that are given twice, and their lines
    _root: yaml.Node | None

    def line(self, *path: str | int) -> int:
        """Return the line, from 1, of the key or entry at `path`; that of the last part that exists."""
        node, line = self._root, 1
        for part in path:
            if isinstance(node, yaml.MappingNode):
                pairs = ((key, value) for key, value in node.value if key.value == str(part))
                key, node = next(pairs, (None, None))
                line = key.start_mark.line + 1 if key else line
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
            else:
                break
        return line


def parse_yaml(text: str, source: str) -> Any:
    """Read YAML text; `source` names it in the UsageError."""
    with _readable_failures(source):
        content = yaml.load(text, Loader=_Loader)
        _check_size(content)
    return content


def parse_located_yaml(text: str, source: str) -> LocatedYaml:
    """Read YAML text with the lines of its parts. Keys that are given twice are listed. Raises as `parse_yaml`."""
    with _readable_failures(source):
        loader = _LenientLoader(text)
        try:
            root = loader.get_single_node()
            content = None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
        _check_size(content)
    return LocatedYaml(content, tuple(loader.duplicates), root)


def _check_size(content: object) -> None:
    try:
        check_nesting(content, max_values=MAX_VALUES)
    except ValueError as error:
        what = "a value contains itself" if _contains_itself(content, set(), set()) else str(error)
        raise _TooLarge(f": {what}", "write values out, without aliases such as `*name`") from error


def _contains_itself(value: object, above: set[int], seen: set[int]) -> bool:
    """Return whether an alias leads back to a value that it is in. `seen` are the values that do not."""
    if not isinstance(value, (dict, list)) or id(value) in seen:
        return False
    if id(value) in above:
        return True
    inner = value.values() if isinstance(value, dict) else value
    found = any(_contains_itself(one, above | {id(value)}, seen) for one in inner)
    seen.add(id(value))
    return found


@contextmanager
def _readable_failures(source: str) -> Iterator[None]:
    try:
        yield
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        hint = "put text with a colon, a # or a brace in quotes"
        raise UsageError(f"{source}{line}: {error.problem}", hint=hint) from error
    except _TooLarge as error:
        message, hint = error.args
        raise UsageError(f"{source}{message}", hint=hint) from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{source}: not YAML: {error}", hint="write one `key: value` per line") from error
    except RecursionError as error:  # without libyaml, which has a limit
        raise UsageError(f"{source}: nested too deeply", hint="write one `key: value` per line") from error
    except (LookupError, TypeError, AttributeError) as error:  # PyYAML on values that do not fit their tag
        raise UsageError(f"{source}: a value does not fit its tag", hint="remove tags such as `!!int`") from error


def read_mapping(path: Location) -> Mapping[str, object]:
    """Read a YAML file of keys and values; `{}` for an empty file. Raises as `read_yaml`."""
    content = read_yaml(path)
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(
            f"{location(path)}: has no keys and values", hint="write one `key: value` per line, as in `steps: 25`"
        )
    return content
