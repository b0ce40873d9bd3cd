"""The reference page of event records, written by `python -m tools.docs`."""

from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from animdiff_cli.core import event_records
from tools.docs.pages import REFERENCE

PAGE, SCHEMA = REFERENCE / "events.md", REFERENCE / "events.schema.json"
#: the same file, for programs that use the installed package
PACKAGED_SCHEMA = Path(event_records.__file__).with_name("events.schema.json")

HEAD = """\
# Events

<!-- Written from `core/event_records.py` by `python -m tools.docs`. Do not edit. -->

With `--json`, `animdiff generate` and `animdiff batch` print an event stream on stdout: JSON Lines, one object per
event. `animdiff serve` sends the same objects. The last event of a clip is `done`, `failed`, `interrupted` or
`skipped`. `done` has the paths of the files, the duration and the recipe.

```console
$ animdiff generate --model pocket --prompt "a red rocket" --seed 1 --json | jq -r 'select(.event=="done").outputs[]'
$ animdiff generate --model pocket --prompt "a red rocket" --seed 1 --json -q | jq -r '.outputs[]'
```

`-q` leaves only these last events, and silences stderr. Mistakes that are found before rendering, such as an unknown
setting, are one JSON object on stderr, `{"error": …, "hint": …, "code": …}`, and stdout stays empty. `--dry-run --json`
prints no events but one object per clip: `outputs`, `device`, `fetch`, `cost` and `config`.

## Stability

Every record has `event`, `version` and `job`. The version is VERSION. New events and new keys may be added without a
new version: ignore those that you do not know. Keys without a value are left out, except `job`.

[events.schema.json](events.schema.json) is the JSON Schema of one record. The package contains it too:

```python
from importlib.resources import files

schema = files("animdiff_cli.core").joinpath("events.schema.json").read_text()
```

## Records
"""


def page() -> str:
    """Return the page of event records."""
    head = HEAD.replace("VERSION", str(event_records.VERSION))
    common = [_row(event_records.StepRecord, key) for key in ("version", "job")]
    event = "| `event` | text | Name of the event, as in the titles below. |"
    parts = [head, "Keys of every record:\n", *_table([event, *common])]
    for kind in get_args(get_args(event_records.EventRecord)[0]):
        own = [key for key in kind.model_fields if key not in ("event", "version", "job")]
        parts += ["", f"### {kind.model_fields['event'].default}", "", " ".join((kind.__doc__ or "").split())]
        parts += ["", *_table(_row(kind, key) for key in own)] if own else []
    return "\n".join([*parts, ""])


def _table(rows: Any) -> list[str]:
    return ["| key | type | |", "|---|---|---|", *rows]


def _row(kind: type[BaseModel], key: str) -> str:
    schema = kind.model_json_schema()
    allowed = _type(schema["properties"][key])
    if key not in schema["required"] and "default" in schema["properties"][key]:
        default = schema["properties"][key]["default"]
        allowed += ", may be missing" if default is None else ""
    return f"| `{key}` | {allowed} | {kind.model_fields[key].description or ''} |"


def _type(schema: dict[str, Any]) -> str:
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema:
        kinds = [_type(option) for option in schema["anyOf"] if option["type"] != "null"]
        is_nullable_key = "default" not in schema  # other keys are left out instead
        return " or ".join([*kinds, "null"] if is_nullable_key else kinds)
    if schema["type"] == "object":
        values = schema.get("additionalProperties")
        return f"object of {_type(values)}" if isinstance(values, dict) and values else "object"
    return f"list of {_type(schema['items'])}" if schema["type"] == "array" else words[schema["type"]]
