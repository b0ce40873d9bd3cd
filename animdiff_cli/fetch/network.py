"""Network settings: sites, access tokens, retry policy. A token is sent only to the site it belongs to."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from animdiff_cli.core.site_urls import CIVITAI, HUB
from animdiff_cli.core.urls import is_unencrypted, is_valid_url, origin, redacted
from animdiff_cli.errors import UsageError
from animdiff_cli.paths import hub_cache_dir

ALLOW_HTTP = "ANIMDIFF_ALLOW_HTTP"
_TRUE = ("1", "on", "true", "yes")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Timeouts and exponential backoff. Times in seconds."""

    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0  # without receiving a byte
    max_attempts: int = 6  # consecutive attempts without progress
    initial_delay_s: float = 0.5
    max_delay_s: float = 30.0
    max_retry_after_s: float = 300.0  # give up on a server that asks for a longer pause

    def delay_s(self, failures: int, retry_after_s: float | None = None) -> float | None:
        """Return the delay after `failures` consecutive failures (1 or more); None to give up.

        The delay doubles with each failure. The server's Retry-After applies if it is longer.

        >>> [RetryPolicy().delay_s(failures) for failures in (1, 2, 3, 6)]
        [0.5, 1.0, 2.0, None]
        """
        if failures >= self.max_attempts or (retry_after_s or 0) > self.max_retry_after_s:
            return None
        backoff_s: float = min(self.initial_delay_s * 2 ** (failures - 1), self.max_delay_s)
        return max(backoff_s, retry_after_s or 0)


def allows_http(environ: Mapping[str, str] = os.environ) -> bool:
    """True if `ANIMDIFF_ALLOW_HTTP` allows unencrypted URLs of other machines."""
    return environ.get(ALLOW_HTTP, "").lower() in _TRUE


@dataclass(frozen=True, slots=True)
class Network:
    """Sites, their tokens, and the retry policy. `repr` omits the tokens."""

    hub: str = HUB
    civitai: str = CIVITAI
    hub_token: str | None = field(default=None, repr=False)
    civitai_token: str | None = field(default=None, repr=False)
    hub_cache: Path | None = None  # the cache that huggingface_hub shares between programs
    offline: bool = False
    allow_http: bool = False  # send and receive unencrypted, also beyond this machine
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, *, offline: bool = False) -> "Network":
        """Read `HF_ENDPOINT`, `HF_TOKEN` or the login of `hf auth`, `HF_HOME`, `HF_HUB_OFFLINE`, `CIVITAI_TOKEN`.

        Also reads `CIVITAI_API_TOKEN`, `ANIMDIFF_CIVITAI_ENDPOINT` for a mirror of Civitai, and `ANIMDIFF_ALLOW_HTTP`.
        Raises UsageError for a token or endpoint that no request can carry.
        """
        from huggingface_hub import get_token

        allow_http = allows_http(environ)
        civitai_name = "CIVITAI_TOKEN" if environ.get("CIVITAI_TOKEN") else "CIVITAI_API_TOKEN"
        return cls(
            hub=_endpoint(environ, "HF_ENDPOINT", HUB, allow_http),
            civitai=_endpoint(environ, "ANIMDIFF_CIVITAI_ENDPOINT", CIVITAI, allow_http),
            hub_token=checked_token(get_token(), "HF_TOKEN"),
            civitai_token=checked_token(environ.get(civitai_name), civitai_name),
            hub_cache=hub_cache_dir(environ),
            offline=offline or is_offline(environ),
            allow_http=allow_http,
        )

    def require_encryption(self, url: str) -> None:
        """Raise UsageError for an `http:` URL of another machine, unless allowed."""
        if not self.allow_http and is_unencrypted(url):
            raise UsageError(
                f"{host(url)}: `http:` is not encrypted", hint=f"use `https:`, or allow it: `export {ALLOW_HTTP}=1`"
            )

    def token_for(self, url: str) -> str | None:
        """Return the token to send with a request to `url`; None for any other site."""
        owners = ((self.hub, self.hub_token), (self.civitai, self.civitai_token))
        return next((token for site, token in owners if token and origin(site) == origin(url)), None)


def is_offline(environ: Mapping[str, str] = os.environ) -> bool:
    """True if `HF_HUB_OFFLINE` is set."""
    return environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE


def checked_token(token: str | None, name: str) -> str | None:
    """Strip whitespace and line ends from a token; None if nothing is left.

    Raises UsageError, without showing the token, if an HTTP header cannot hold it. `name`: its environment variable.
    """
    stripped = (token or "").strip()
    if not all("!" <= character <= "~" for character in stripped):
        raise UsageError(
            f"the token in `{name}` contains spaces, control characters or non-ASCII letters",
            hint=f"copy it again: `export {name}=…`",
        )
    return stripped or None


def host(url: str) -> str:
    """Return the host name of a URL, for messages."""
    return urlsplit(url).hostname or redacted(url)


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Parse a Retry-After header, in seconds or as a date; None if it is absent or invalid.

    >>> retry_after_s({"Retry-After": "7"})
    7.0
    """
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max((aware - (now or datetime.now(UTC))).total_seconds(), 0.0)


def _endpoint(environ: Mapping[str, str], name: str, default: str, allow_http: bool) -> str:
    """Read the URL of a site from the environment. Raises UsageError for an invalid or unencrypted one."""
    url = (environ.get(name) or "").strip().rstrip("/") or default
    if not url.lower().startswith(("https://", "http://")) or not is_valid_url(url) or not url.isprintable():
        raise UsageError(f"`{name}` is not a URL", hint=f"type `export {name}={default}`")
    Network(allow_http=allow_http).require_encryption(url)
    return url
