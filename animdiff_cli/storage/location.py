"""Where a file is: a local path, or a URL of a storage system."""

import re
from pathlib import Path, PurePosixPath

from animdiff_cli import paths
from animdiff_cli.core.refs import require_no_credentials
from animdiff_cli.core.urls import STORAGE_PACKAGES, is_unencrypted
from animdiff_cli.errors import UsageError

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9]+):/", re.ASCII | re.IGNORECASE)


class RemotePath(PurePosixPath):
    """A file or folder on a storage system. `str` is its URL; the parts of a path work as for a local one.

    >>> RemotePath("s3://bucket/night").with_name("day.gif")
    RemotePath('s3://bucket/day.gif')
    """

    def __str__(self) -> str:
        # pathlib collapses `//`
        return re.sub(r"\A([a-z0-9]+):/(?!/)", r"\1://", super().__str__(), flags=re.IGNORECASE)

    def as_posix(self) -> str:
        """Return the URL."""
        return str(self)

    @property
    def scheme(self) -> str:
        """The kind of storage system, such as `s3`."""
        return self.parts[0].rstrip(":").lower()

    def exists(self) -> bool:
        """True if there is a file or folder. Raises `AnimdiffError` if the storage system cannot be asked."""
        from animdiff_cli.storage.objects import find

        return find(self) is not None

    def is_dir(self) -> bool:
        """True if there is a folder. Raises as `exists`."""
        from animdiff_cli.storage.objects import find

        found = find(self)
        return found is not None and found.is_folder


Location = Path | RemotePath


def is_url(name: str | Path | RemotePath) -> bool:
    """True for a URL of a storage system or of a web server.

    >>> is_url("s3://bucket/a.gif"), is_url("night/a.gif"), is_url("C:/a.gif")
    (True, False, False)
    """
    match = _URL.match(str(name))
    return match is not None and match["scheme"].lower() in STORAGE_PACKAGES


def location(name: str | Path | RemotePath) -> Location:
    """Return where a file is, from what was typed. `~` is expanded, and `file:` is a local path.

    Raises `UsageError` for a URL that contains credentials, is not encrypted, or is of an unknown kind.
    """
    text = str(name)
    if text.startswith("file:/"):
        return Path("/" + text.removeprefix("file:").lstrip("/"))
    if not is_url(text):
        _refuse_unknown(text)
        return paths.expanded(name if isinstance(name, Path) else text)
    remote = RemotePath(require_no_credentials(text))  # also of a Path, in which pathlib has collapsed `//`
    if is_unencrypted(str(remote)):
        raise UsageError(f"`{remote}`: `http:` is not encrypted", hint="use `https:`")
    return remote


def _refuse_unknown(name: str) -> None:
    scheme, separator, _ = name.partition("://")
    if separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+", scheme, re.ASCII):
        known = ", ".join(f"`{known}:`" for known in STORAGE_PACKAGES)
        raise UsageError(f"`{name}`: `{scheme}:` is not a known kind of URL", hint=f"use a path, or one of {known}")
