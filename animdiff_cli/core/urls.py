"""URLs: their origin, credentials that must not be stored or shown, and which need no encryption."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

#: scheme of a storage system that fsspec opens → the package it needs; empty if none
STORAGE_PACKAGES: Mapping[str, str] = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "oss": "ossfs",
    "sftp": "paramiko",
    "ssh": "paramiko",
    "smb": "smbprotocol",
    "memory": "",
    "https": "aiohttp",
    "http": "aiohttp",
}

#: query keys whose value grants access: tokens, API keys, passwords, signatures of presigned URLs
_SECRET_KEY = re.compile(
    r"token|secret|passw|pwd|api[._-]?key|access[._-]?key|private[._-]?key|signature|credential|bearer|jwt|session"
    r"|authori[sz]ation|key-pair-id|hdne[at]|^x-(?:amz|goog|ms|oss|cos|obs)-|^(?:auth|key|policy|sig|sign|hmac|pass)$"
    r"|[._-](?:auth|key|sig|sign)$",
    re.IGNORECASE,
)
_DEFAULT_PORTS = {"https": 443, "http": 80}
#: `sftp://me@host` and `abfs://container@account` hold no secret
_NAME_ALONE = "|".join(f"(?<={scheme}:)" for scheme in ("sftp", "ssh", "smb", "abfs", "abfss"))
_USERINFO = re.compile(rf"(?<=:)(?!(?:{_NAME_ALONE})//[^:/\\?#\s]*@)(?P<slashes>[/\\]{{2,}})(?P<userinfo>[^/\\?#\s]*)@")
_PARAMETER = re.compile(r"(?P<key>(?<=[?&;#])[^=&;#?\s]+)=(?P<value>[^&;#\s]*)")


def credentials_in(text: str) -> tuple[str, ...]:
    """List the credentials of a URL by name, without their values.

    >>> credentials_in("https://me:pw@host/f?download=1&api_key=abc")
    ('user name and password', '`api_key=…`')
    """
    login = ("user name and password",) if _USERINFO.search(text) else ()
    keys = [match["key"] for match in _PARAMETER.finditer(text) if _is_secret(match["key"]) and match["value"]]
    return (*login, *(f"`{unquote(key)}=…`" for key in dict.fromkeys(keys)))


def redacted(text: str) -> str:
    """Replace the credentials of all URLs in a text.

    >>> redacted("https://me:pw@host/f?download=1&api_key=abc")
    'https://…@host/f?download=1&api_key=…'
    """
    without_login = _USERINFO.sub(r"\g<slashes>…@", text)
    return _PARAMETER.sub(lambda m: f"{m['key']}=…" if _is_secret(m["key"]) else m[0], without_login)


def redacted_record(value: Any) -> Any:
    """Replace the credentials of all URLs in the texts of nested lists and mappings, also in their keys."""
    if isinstance(value, Mapping):
        return {redacted_record(key): redacted_record(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_record(entry) for entry in value]
    return redacted(value) if isinstance(value, str) else value


def is_valid_url(url: str) -> bool:
    """True if the URL has a host, and a port from 0 to 65535 if any."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port >= 0)
    except ValueError:
        return False


def origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL. Only URLs of the same origin share a token."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme)


def is_unencrypted(url: str) -> bool:
    """True for an `http:` URL, except on the loopback interface of this machine.

    >>> is_unencrypted("http://example.com/f"), is_unencrypted("http://127.0.0.1:8000/f")
    (True, False)
    """
    parts = urlsplit(url)
    return parts.scheme.lower() == "http" and not _is_loopback((parts.hostname or "").rstrip("."))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_secret(key: str) -> bool:
    return bool(_SECRET_KEY.search(unquote(key)))
