"""Model references: the syntax for naming weights on the command line and in configs.

| syntax                           | meaning                                           |
|----------------------------------|---------------------------------------------------|
| `toonyou`                        | a catalog alias, or a file name without suffix    |
| `hf:org/repo[/file][@revision]`  | a Hugging Face repository, or one file of it      |
| `civitai:model@version`          | a Civitai model version, by model and version ID  |
| `https://…`                      | a URL; `http:` is for loopback addresses          |
| `s3://…`, `gs://…`, `sftp://…`   | a file on a storage system; a folder ends in `/`  |
| a path                           | contains a separator, starts with `.` or `~`, has |
|                                  | a drive letter, or ends in a weight file suffix   |

Where a scale is allowed, the last `@number` is the scale: `zoom-in@0.8`. So is a curve, as in `zoom-in@0:0,50%:1`.
`civitai:` references always have a version, so their scale follows the second `@`.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NoReturn

from animdiff_cli.core.curves import Curve, is_curve_text
from animdiff_cli.core.urls import STORAGE_PACKAGES, credentials_in, is_valid_url
from animdiff_cli.core.where import POSITION
from animdiff_cli.errors import UsageError

Source = Literal["alias", "hf", "civitai", "url", "path"]

#: suffixes of weight files
WEIGHT_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")

GRAMMAR = "an alias, `hf:org/repo/file`, `civitai:model@version`, an https URL or a path"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SCALE = re.compile(r"(?P<rest>.+)@(?P<scale>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)", re.ASCII | re.DOTALL)
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*", re.ASCII)
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):(?P<rest>.*)", re.ASCII | re.DOTALL)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]", re.ASCII)
_HF = re.compile(r"(?P<target>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_SUFFIX = re.compile(r"\w\.[A-Za-z]\w{1,10}\Z", re.ASCII)
_COLON_SCALE = re.compile(r"(?P<name>.+?):(?P<scale>[+-]?(?:\d+\.?\d*|\.\d+))(?::.*)?", re.ASCII | re.DOTALL)
_CIVITAI = re.compile(r"(?P<target>\d+)@(?P<revision>\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A parsed reference. `parse_ref(str(ref))` returns an equal one."""

    source: Source
    target: str  # alias, `org/repo`, Civitai model ID, URL or path
    file: str | None = None  # in a Hugging Face repository; None: the whole repository
    revision: str | None = None  # commit, tag or branch; version ID on Civitai
    scale: float | Curve | None = None  # None if not given

    @property
    def names_one_file(self) -> bool:
        """True if it is one file whose name the site chooses. False for the Hub and a folder on a storage system."""
        is_folder = self.target.endswith("/") and not self.target.lower().startswith(("https:", "http:"))
        return self.source in ("civitai", "url") and not is_folder

    def __str__(self) -> str:
        prefix = f"{self.source}:" if self.source in ("hf", "civitai") else ""
        file = f"/{self.file}" if self.file else ""
        revision = f"@{self.revision}" if self.revision else ""
        scale = "" if self.scale is None else f"@{scale_text(self.scale)}"
        return f"{prefix}{self.target}{file}{revision}{scale}"


@lru_cache(maxsize=1 << 14)  # a list of models parses the sources of each catalog entry several times
def parse_ref(text: str, *, scaled: bool = False) -> ModelRef:
    """Parse a reference by its syntax alone, without access to disk or network.

    A local folder whose name looks like an alias is written `./name`. Raises UsageError.

    >>> parse_ref("zoom-in@0.8", scaled=True).scale
    0.8
    >>> parse_ref("hf:guoyww/animatediff/v3_sd15_mm.ckpt").target
    'guoyww/animatediff'
    """
    require_no_credentials(text)
    if not text or text != text.strip(" ") or _CONTROL.search(text):
        raise UsageError(f"`{text}` is not a model reference", hint=f"use {GRAMMAR}")
    body, scale = _split_scale(text) if scaled else (text, None)
    return replace(_classify(body), scale=scale)


def scale_text(scale: float | Curve) -> str:
    """Return the text of a scale, which `parse_ref` reads as the same scale."""
    return str(scale) if isinstance(scale, Curve) else repr(scale)


def split_scale(text: str) -> tuple[str, float | Curve | None]:
    """Split a scale off the end of a path. Raises `UsageError` for a scale that is too large.

    >>> split_scale("dance.mp4@0.8"), split_scale("img@2.png")
    (('dance.mp4', 0.8), ('img@2.png', None))
    """
    return _split_scale(text, is_path=True)


def constant_scale(ref: ModelRef, purpose: str) -> float:
    """Return the scale of a reference, 1 if it has none. Raises UsageError for a curve: `purpose` needs one number."""
    if isinstance(ref.scale, Curve):
        raise UsageError(f"{purpose} needs one scale, got the curve `{ref.scale}`", hint="write one, as in `REF@0.8`")
    return 1.0 if ref.scale is None else ref.scale


def split_refs(text: str) -> list[str]:
    """Split references at commas, except at those inside a curve.

    >>> split_refs("crayon@0:0,50%:1, ink@0.5")
    ['crayon@0:0,50%:1', 'ink@0.5']
    """
    return [ref.strip() for ref in re.split(rf",(?!\s*{POSITION}\s*:\s*[-+.\d])", text)]


def _split_scale(text: str, *, is_path: bool = False) -> tuple[str, float | Curve | None]:
    rest, at, curve = text.rpartition("@")
    if at and is_curve_text(curve) and not _civitai_version_only(text):
        return rest, Curve.parse(curve, _curve_scale)
    match = _SCALE.fullmatch(text)
    if match is None or _civitai_version_only(text):
        is_alias = not is_path and _ALIAS.fullmatch(rest) and not _looks_like_path(text)
        if at and (is_alias or names_file_at(text)):
            what = f"`{curve}` is not a scale" if curve else "no scale follows the `@`"
            raise UsageError(f"`{text}`: {what}", hint=f"write a number, `{rest}@0.8`, or a curve, `{rest}@0:0,50%:1`")
        return text, None
    scale = float(match["scale"])
    if not math.isfinite(scale):
        raise UsageError(f"the scale `{match['scale']}` is too large", hint="typical scales are between 0 and 1")
    return match["rest"], scale


def names_file_at(text: str) -> bool:
    """Return whether what follows the last `@` of a path belongs to the file before it, and not to its name.

    >>> names_file_at("fox.png@nan"), names_file_at("me@home.png"), names_file_at("img@2x.png")
    (True, False, False)
    """
    file, _, rest = text.rpartition("@")
    return (
        not text.startswith("hf:")
        and bool(_SUFFIX.search(file))
        and not re.search(r"[/\\]", rest)
        and not _SUFFIX.search(rest)
    )


def _curve_scale(text: str) -> float:
    match = _SCALE.fullmatch(f"ref@{text}")
    if match is None or not math.isfinite(float(match["scale"])):
        raise UsageError(f"`{text}` is not a scale", hint="write numbers, as in `REF@0:0,50%:1`")
    return float(match["scale"])


def _civitai_version_only(text: str) -> bool:
    return text.startswith("civitai:") and text.count("@") == 1


def _classify(text: str) -> ModelRef:
    scheme = _SCHEME.fullmatch(text)
    if scheme is not None:
        read = _SCHEMES.get(scheme["scheme"].lower(), _unknown)
        return read(scheme["rest"], text)
    if _looks_like_path(text):
        return ModelRef("path", text)
    if not _ALIAS.fullmatch(text):
        scaled = _SCALE.fullmatch(text)
        _refuse(text, _without_scale(scaled["rest"]) if scaled else _scale_hint(text) or f"use {GRAMMAR}")
    return ModelRef("alias", text.lower())


def _looks_like_path(text: str) -> bool:
    has_separator = "/" in text or "\\" in text
    return has_separator or text[0] in ".~" or bool(_DRIVE.match(text)) or text.lower().endswith(WEIGHT_SUFFIXES)


def _hf(rest: str, text: str) -> ModelRef:
    match = _HF.fullmatch(rest)
    if match is None or {"", ".", ".."} & set(rest.partition("@")[0].split("/")) or _COLON_SCALE.fullmatch(rest):
        _refuse(text, _scale_hint(text) or "use `hf:org/repo`, `hf:org/repo/file` or `hf:org/repo/file@revision`")
    return ModelRef("hf", match["target"], match["file"], match["revision"])


def _civitai(rest: str, text: str) -> ModelRef:
    match = _CIVITAI.fullmatch(rest)
    if match is None:
        _refuse(text, "use model and version ID from the page's URL: `civitai:30240@78775`")
    return ModelRef("civitai", match["target"], revision=match["revision"])


def _url(rest: str, text: str) -> ModelRef:
    if not rest.startswith("//") or not is_valid_url(text):
        _refuse(text, "use a complete URL: `https://host/file.safetensors`")
    return ModelRef("url", text)


def require_no_credentials(text: str) -> str:
    """Return `text`. Raises UsageError for a URL with credentials: URLs are stored in recipes and shown in lists."""
    found = credentials_in(text)
    if not found:
        return text
    hint = f"remove the {found[0]} from the URL"
    owner = next((site for site in _TOKEN_VARIABLES if site in text), None)
    if owner:
        hint += f" and type `export {_TOKEN_VARIABLES[owner]}=…`"
    elif "user name" not in found[0]:
        hint = "download the file with a browser or `curl`, then pass its path"
    raise UsageError(f"the URL contains credentials: {', '.join(found)}", hint=hint)


#: site → environment variable of its token
_TOKEN_VARIABLES: Mapping[str, str] = {"civitai.com": "CIVITAI_TOKEN", "huggingface.co": "HF_TOKEN"}


def _unknown(rest: str, text: str) -> NoReturn:
    if hint := _scale_hint(text):
        _refuse(text, hint)
    _refuse(text, f"use `hf:`, `civitai:` or `https:`; for a local file with this name, `./{text}`")


_SCHEMES: Mapping[str, Callable[[str, str], ModelRef]] = {
    "hf": _hf,
    "civitai": _civitai,
    **dict.fromkeys(STORAGE_PACKAGES, _url),
}


def path_hint(text: str) -> str | None:
    """Return a hint for a path that does not exist, if it looks like a reference in the syntax of other programs.

    >>> path_hint("runwayml/stable-diffusion-v1-5")
    'for the Hugging Face repository, type `hf:runwayml/stable-diffusion-v1-5`'
    >>> path_hint("loras/mystyle.safetensors:0.7")
    'type the scale after `@`: `loras/mystyle.safetensors@0.7`'
    """
    site = next((site for site in _SITES if text.lower().startswith(site)), None)
    if site:
        return f"for a URL, type `https://{text}`"
    if hint := _scale_hint(text):
        return hint
    match = _HF.fullmatch(text)
    is_file_in_folder = match is not None and match["file"] is None and match["target"].endswith(WEIGHT_SUFFIXES)
    is_other_file = match is not None and match["file"] is not None and not match["file"].endswith(WEIGHT_SUFFIXES)
    if match is None or is_file_in_folder or is_other_file or {"", ".", ".."} & set(text.partition("@")[0].split("/")):
        return None
    return f"for the Hugging Face repository, type `hf:{text}`"


def _scale_hint(text: str) -> str | None:
    """Return a hint for `name:0.7`, as other programs write a scale, and for a curve where no scale is supported."""
    name, at, curve = text.rpartition("@")
    if at and is_curve_text(curve):
        return _without_scale(name)
    match = _COLON_SCALE.fullmatch(text)
    return f"type the scale after `@`: `{match['name']}@{match['scale']}`" if match else None


def _without_scale(name: str) -> str:
    return f"remove the scale, which is not supported here: type `{name}`"


#: hosts that users type without `https://`
_SITES = ("huggingface.co/", "hf.co/", "civitai.com/", "www.civitai.com/")


def _refuse(text: str, hint: str) -> NoReturn:
    raise UsageError(f"`{text}` is not a model reference", hint=hint)
