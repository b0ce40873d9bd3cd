"""Local names of downloads: the file name that a server suggests, made safe for every file system."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import unquote_to_bytes

from animdiff_cli.core.refs import WEIGHT_SUFFIXES
from animdiff_cli.registry.model_dirs import COMPANION_SUFFIXES, MAX_NAME_BYTES

_FORBIDDEN = re.compile(r'[<>:"|?*]')  # by Windows
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)  # by Windows
#: `; name=token` or `; name="quoted \" string"`, RFC 6266 and 9110
_PARAMETER = re.compile(
    r';\s*(?P<name>[^\s=;"]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"?|(?P<token>[^;"]*))', re.DOTALL
)
_EXTENDED = re.compile(r"(?P<charset>[^']*)'[^']*'(?P<value>.*)", re.DOTALL)  # RFC 5987


def download_name(suggestions: Iterable[str | None], default: str = "model") -> str:
    """Return a safe name from the suggestions of a server, best first.

    Prefers one with the suffix of a weight file: a server may suggest `download` for `https://host/x.safetensors`.

    >>> download_name([None, "download", "a/x.ckpt"])
    'x.ckpt'
    """
    names = [safe_name(suggestion, default="") for suggestion in suggestions if suggestion]
    with_suffix = (name for name in names if name.lower().endswith(WEIGHT_SUFFIXES))
    return next(with_suffix, next(filter(None, names), default))


def safe_name(name: str, default: str = "model") -> str:
    r"""Return the last path component of a name chosen by a server, made safe as a local file name.

    Removes path traversal, leading dots, and characters that a file system forbids or a terminal interprets. Shortens
    long names. Names of metadata files and unfinished downloads get another end.

    >>> safe_name("../../etc/passwd"), safe_name("C:\\x.ckpt"), safe_name("..")
    ('passwd', 'x.ckpt', 'model')
    """
    last = re.split(r"[/\\]", name)[-1]
    printable = "".join(character if character.isprintable() else "_" for character in last)
    safe = _shorten(_FORBIDDEN.sub("_", printable).strip(" ."))
    if safe.lower().endswith(COMPANION_SUFFIXES):
        safe += "_"
    return f"_{safe}" if _RESERVED.fullmatch(safe) else safe or default


def disposition_name(header: str | None) -> str | None:
    """Parse the file name in a Content-Disposition header. Pass the result to `safe_name` before use.

    `filename*` takes precedence over `filename`, as RFC 6266 requires. None if there is no name, or an empty one.

    >>> disposition_name('attachment; filename="toonyou beta.safetensors"')
    'toonyou beta.safetensors'
    """
    parameters: dict[str, str] = {}
    for match in _PARAMETER.finditer(f";{header or ''}"):
        quoted = match["quoted"]
        # only `\"` and `\\` are escapes: some servers send paths of Windows
        value = match["token"].strip() if quoted is None else re.sub(r'\\(["\\])', r"\1", quoted)
        parameters.setdefault(match["name"].lower(), value)
    return _extended(parameters.get("filename*", "")) or _as_utf8(parameters.get("filename", "").strip()) or None


def _extended(value: str) -> str | None:
    """Decode `charset'language'percent-encoded`; None if it is invalid."""
    match = _EXTENDED.fullmatch(value)
    if match is None:
        return None
    try:
        return unquote_to_bytes(match["value"]).decode(match["charset"] or "utf-8").strip()
    except (LookupError, ValueError):
        return None


def _as_utf8(value: str) -> str:
    """Decode UTF-8 that a server sent unencoded: HTTP libraries read headers as Latin-1."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def _shorten(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    suffix = suffix if len(suffix.encode()) <= 20 else ""
    stem = name.removesuffix(suffix).encode()
    return stem[: MAX_NAME_BYTES - len(suffix.encode())].decode(errors="ignore").rstrip(" .") + suffix
