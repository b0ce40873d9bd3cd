"""A clip of the gallery, and the settings that its page filters and sorts by. Recipes are untrusted."""

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.text import printable
from animdiff_cli.core.urls import redacted_record

Setting = str | int | float | bool | None

#: a page with the recipes of a thousand clips must stay small; those of this program have about 3 kB
MAX_RECIPE_BYTES = 256 << 10
MAX_SETTINGS = 200
MAX_NAME = 80
#: JavaScript has no exact integers above
MAX_INTEGER = 2**53 - 1

_CONTROL = re.compile(r"[^\x20-\x7e\xa0-\u2027\u2030-\u2065\u2070-\ud7ff\ue000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class GalleryClip:
    """What the page knows about one clip."""

    path: str  # as the user typed it, for messages and commands
    format: str
    width: int  # px
    height: int  # px
    num_frames: int
    fps: float
    modified: int  # seconds since 1970
    recipe: Mapping[str, Any] | None = None
    problem: str | None = None  # why there is no recipe

    def record(self) -> dict[str, Any]:
        """Return the clip for the page: JSON values, with settings as text, numbers or booleans."""
        recipe = redacted_record(self.recipe) if self.recipe else None
        return {
            "name": printable(self.path.rstrip("/").rpartition("/")[2] or self.path),
            "path": printable(self.path),
            "command": f"animdiff generate --from {shell_quoted(self.path)}" if recipe else None,
            "format": self.format,
            "width": self.width,
            "height": self.height,
            "frames": self.num_frames,
            "fps": self.fps,
            "modified": self.modified,
            "settings": settings_of(recipe),
            # as text: numbers keep all digits, and the page shows and copies it without reading it
            "recipe": json.dumps(recipe, indent=1) if recipe else None,
            "problem": self.problem,
        }


def settings_of(recipe: Mapping[str, Any] | None) -> dict[str, Setting]:
    """Return the settings of an untrusted recipe, at most `MAX_SETTINGS`, each as one value to show and compare.

    >>> settings_of({"config": {"seed": 2**64 - 1, "loras": ["a@0.5", "b"], "motion_scale": {"0": 1, "50%": 0.5}}})
    {'seed': '18446744073709551615', 'loras': 'a@0.5, b', 'motion_scale': '0: 1, 50%: 0.5'}
    """
    config = recipe.get("config") if recipe else None
    if not isinstance(config, dict):
        return {}
    named = [(printable(key), value) for key, value in config.items() if len(key) <= MAX_NAME]
    return {key: _setting(value) for key, value in named[:MAX_SETTINGS]}


def fill_defaults(records: Sequence[dict[str, Any]]) -> None:
    """Add to each record with a recipe the default of every setting that other recipes have: theirs left it out."""
    used = dict.fromkeys(key for record in records for key in record["settings"])
    fields = {key: GenerateConfig.model_fields[key] for key in used if key in GenerateConfig.model_fields}
    defaults = {key: _setting(field.default) for key, field in fields.items() if not field.is_required()}
    for record in records:
        if record["recipe"]:
            record["settings"] = {key: record["settings"].get(key, defaults.get(key)) for key in used}


def shell_quoted(path: str) -> str:
    r"""Quote a path for a shell. Bytes a terminal would act on are written as escapes of `$'…'`, and pasted as text.

    >>> print(shell_quoted("it's.gif"), shell_quoted("-x.gif"), shell_quoted("a\x1b[201~.gif"))
    'it'"'"'s.gif' ./-x.gif $'a\033[201~.gif'
    """
    path = f"./{path}" if path.startswith("-") else path
    if not _CONTROL.search(path):
        return shlex.quote(path)
    plain = path.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{_CONTROL.sub(_escape_bytes, plain)}'"


def _escape_bytes(match: re.Match[str]) -> str:
    # three octal digits end by themselves; `\xe9a` would be read as one number by some shells
    return "".join(f"\\{byte:03o}" for byte in match[0].encode("utf-8", "surrogateescape"))


def _setting(value: object) -> Setting:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) <= MAX_INTEGER else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return printable(_text(value))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return str(value)
