"""File names that servers choose: used only after they are made harmless."""

import re
from pathlib import PurePosixPath

from animdiff_cli.errors import IntegrityError

LONGEST = 180  # bytes; room for `.part.jsonl` below the usual limit of 255
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')  # control characters, and what Windows cannot store
_DISPOSITION = re.compile(r"filename\*?\s*=\s*(?:UTF-8'[^']*')?\"?([^\";]+)", re.IGNORECASE)


def safe_name(wanted: str, otherwise: str = "model") -> str:
    r"""Keep the last component of a name, without what could hide it, break it or lead elsewhere.

    >>> safe_name("../../etc/passwd"), safe_name("C:\\x.ckpt"), safe_name("..")
    ('passwd', 'x.ckpt', 'model')
    """
    last = re.split(r"[/\\]", wanted)[-1]
    harmless = _FORBIDDEN.sub("_", last).strip(" .")
    return _shortened(harmless) or otherwise


def disposition_name(header: str | None) -> str | None:
    """Read the name a server suggests in Content-Disposition; not yet a safe one.

    >>> disposition_name('attachment; filename="toonyou beta.safetensors"')
    'toonyou beta.safetensors'
    """
    match = _DISPOSITION.search(header or "")
    return match[1].strip() if match else None


def require_inside(path: str) -> str:
    """Return a path within a repository as it is. Raises IntegrityError for one that leads out of it."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or {"..", "."} & set(path.split("/")) or ":" in path:
        raise IntegrityError(f"the repository names a file `{path}`: refused", hint="fetch it from another source")
    return path


def _shortened(name: str) -> str:
    suffix = PurePosixPath(name).suffix[:20]
    stem = name.removesuffix(suffix).encode()
    return stem[: LONGEST - len(suffix.encode())].decode(errors="ignore") + suffix
