"""Read YAML without the surprises of YAML 1.1.

In YAML 1.1 `010` is eight, `1:30` is ninety, `no` is false, and duplicate keys are allowed. Here numbers are decimal,
only `true` and `false` are booleans, everything else is text, and duplicate keys are refused.
"""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from animdiff_cli.errors import NotFound, UsageError

try:
    from yaml import CSafeLoader as _Base  # ten times faster; missing if PyYAML was built without libyaml
except ImportError:
    from yaml import SafeLoader as _Base  # type: ignore[assignment]

#: (type, pattern, first characters)
_SCALARS = (
    ("bool", r"true|false", "tf"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"null|~|", ["n", "~", ""]),
)


class _Loader(_Base):
    """PyYAML's safe loader with `_SCALARS`."""

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
    """Read a YAML or JSON file. Integers are exact.

    Raises NotFound for a missing file, UsageError with the line for invalid YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise NotFound(f"no file `{path}`", hint="check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as text: {error}", hint="save it as UTF-8 text") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Any:
    """Read YAML text; `source` names it in the UsageError."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        hint = "put text with a colon, a # or a brace in quotes"
        raise UsageError(f"{source}{line}: {error.problem}", hint=hint) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of more than 4300 digits
        raise UsageError(f"{source}: not YAML: {error}", hint="write one `key: value` per line") from error


def read_mapping(path: Path) -> Mapping[str, object]:
    """Read a YAML file of keys and values; `{}` for an empty file. Raises as `read_yaml`."""
    content = read_yaml(path)
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(f"{path}: has no keys and values", hint="write one `key: value` per line, as in `steps: 25`")
    return content
