"""YAML as people type it: read without the surprises of YAML 1.1.

There, `010` is eight, `1:30` is ninety, `no` is false, and a key given twice silently counts once. Here
numbers are decimal, only `true` and `false` are booleans, everything else stays text, and a key given twice
is refused.
"""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from animdiff_cli.errors import NotFound, UsageError

try:
    from yaml import CSafeLoader as _Base  # ten times faster; absent where PyYAML was built without libyaml
except ImportError:
    from yaml import SafeLoader as _Base  # type: ignore[assignment]

#: (type, what is read as one, characters it may begin with)
_SCALARS = (
    ("bool", r"true|false", "tf"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"null|~|", ["n", "~", ""]),
)


class _Loader(_Base):
    """PyYAML's safe loader with the scalars above."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  PyYAML's own name

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"`{key.value}` is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


for _name, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"), _first)


def read_yaml(path: Path) -> Any:
    """Read a YAML file; JSON is nearly always YAML too. Integers are exact.

    Raises NotFound where there is no such file, UsageError with the line where it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise NotFound(f"no file `{path}`", hint="check the path: folders are not searched") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as text: {error}", hint="save it as UTF-8 text") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Any:
    """Read YAML text; `source` names it in the UsageError."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        hint = "text with a colon, a # or a brace in it goes in quotes"
        raise UsageError(f"{source}{line}: {error.problem}", hint=hint) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of more than 4300 digits
        raise UsageError(f"{source}: not YAML: {error}", hint="write one `key: value` a line") from error


def read_mapping(path: Path) -> Mapping[str, object]:
    """Read a YAML file of keys and values; an empty file has none. Raises as `read_yaml`."""
    content = read_yaml(path)
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(f"{path}: holds no keys and values", hint="write one `key: value` a line, as in `steps: 25`")
    return content
