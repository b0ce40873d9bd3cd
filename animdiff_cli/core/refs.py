"""Model references: one grammar for everything on the command line that names weights.

| typed                            | means                                             |
|----------------------------------|---------------------------------------------------|
| `toonyou`                        | an alias of the catalog                           |
| `hf:org/repo[/file][@revision]`  | a Hugging Face repository, or one file of it      |
| `civitai:model@version`          | one version of a Civitai model, by its numbers    |
| `https://…`                      | a file on the web                                 |
| anything else that looks like it | a path: it holds a separator, starts with `.` or  |
|                                  | `~`, has a drive letter, or ends as weights do    |

Where a scale is allowed, the last `@number` is the scale: `zoom-in@0.8`. `civitai:` always carries its
version, so there the scale is the second `@`.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

from animdiff_cli.errors import UsageError

Source = Literal["alias", "hf", "civitai", "url", "path"]

#: file endings that make a bare word a path
WEIGHT_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")

GRAMMAR = "an alias, `hf:org/repo/file`, `civitai:model@version`, an https address or a path"

_SCALE = re.compile(r"(?P<rest>.+)@(?P<scale>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)", re.ASCII | re.DOTALL)
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*", re.ASCII)
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):(?P<rest>.*)", re.ASCII | re.DOTALL)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]", re.ASCII)
_HF = re.compile(r"(?P<target>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_CIVITAI = re.compile(r"(?P<target>\d+)@(?P<revision>\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """What was typed, parsed. `str(ref)` is a spelling that parses to the same reference."""

    source: Source
    target: str  # alias, `org/repo`, Civitai model number, address or path
    file: str | None = None  # inside a Hugging Face repository; None means all of it
    revision: str | None = None  # commit, tag or branch; the version number on Civitai
    scale: float | None = None  # how strongly to apply; None where none was typed

    def __str__(self) -> str:
        prefix = f"{self.source}:" if self.source in ("hf", "civitai") else ""
        file = f"/{self.file}" if self.file else ""
        revision = f"@{self.revision}" if self.revision else ""
        scale = "" if self.scale is None else f"@{self.scale!r}"
        return f"{prefix}{self.target}{file}{revision}{scale}"


def parse_ref(text: str, *, scaled: bool = False) -> ModelRef:
    """Read a reference by its spelling alone; nothing on disk or on the net is looked at.

    A folder here whose name looks like an alias is typed `./name`. Raises UsageError.

    >>> parse_ref("zoom-in@0.8", scaled=True).scale
    0.8
    >>> parse_ref("hf:guoyww/animatediff/v3_sd15_mm.ckpt").target
    'guoyww/animatediff'
    """
    if not text or text != text.strip() or not text.isprintable():
        raise UsageError(f"`{text}` names no model", hint=f"type {GRAMMAR}")
    body, scale = _split_scale(text) if scaled else (text, None)
    return replace(_classify(body), scale=scale)


def _split_scale(text: str) -> tuple[str, float | None]:
    match = _SCALE.fullmatch(text)
    if match is None or _civitai_version_only(text):
        return text, None
    scale = float(match["scale"])
    if not math.isfinite(scale):
        raise UsageError(f"`{match['scale']}` is too large for a scale", hint="most scales lie between 0 and 1")
    return match["rest"], scale


def _civitai_version_only(text: str) -> bool:
    return text.startswith("civitai:") and text.count("@") == 1


def _classify(text: str) -> ModelRef:
    scheme = _SCHEME.fullmatch(text)
    if scheme is not None:
        read = _SCHEMES.get(scheme["scheme"], _unknown)
        return read(scheme["rest"], text)
    if _looks_like_path(text):
        return ModelRef("path", text)
    if not _ALIAS.fullmatch(text):
        _refuse(text, "no scale can be given here" if _SCALE.fullmatch(text) else f"type {GRAMMAR}")
    return ModelRef("alias", text.lower())


def _looks_like_path(text: str) -> bool:
    has_separator = "/" in text or "\\" in text
    return has_separator or text[0] in ".~" or bool(_DRIVE.match(text)) or text.lower().endswith(WEIGHT_SUFFIXES)


def _hf(rest: str, text: str) -> ModelRef:
    match = _HF.fullmatch(rest)
    if match is None or {"", ".", ".."} & set(rest.partition("@")[0].split("/")):
        _refuse(text, "type `hf:org/repo`, `hf:org/repo/file` or `hf:org/repo/file@revision`")
    return ModelRef("hf", match["target"], match["file"], match["revision"])


def _civitai(rest: str, text: str) -> ModelRef:
    match = _CIVITAI.fullmatch(rest)
    if match is None:
        _refuse(text, "type both numbers of the page's address: `civitai:30240@78775` is model 30240, version 78775")
    return ModelRef("civitai", match["target"], revision=match["revision"])


def _url(rest: str, text: str) -> ModelRef:
    host = rest.removeprefix("//").partition("/")[0]
    if not rest.startswith("//") or not host:
        _refuse(text, "type the whole address: `https://host/file.safetensors`")
    if "@" in host:
        # an address ends up in recipes and logs; a password in it would too
        raise UsageError("an address with a name or password in it", hint="keep credentials out of the address")
    return ModelRef("url", text)


def _unknown(rest: str, text: str) -> NoReturn:
    if text.startswith("http:"):
        _refuse(text, f"weights come over https only: type `https:{rest}`")
    _refuse(text, f"known sources are `hf:`, `civitai:` and `https:`; for a file of this name here, type `./{text}`")


_SCHEMES: Mapping[str, Callable[[str, str], ModelRef]] = {"hf": _hf, "civitai": _civitai, "https": _url}


def _refuse(text: str, hint: str) -> NoReturn:
    raise UsageError(f"`{text}` is not a model reference", hint=hint)
