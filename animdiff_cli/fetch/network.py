"""Network settings: sites, access tokens, retry policy. A token is sent only to the site it belongs to."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from animdiff_cli.paths import hub_cache_dir

HUB, CIVITAI = "https://huggingface.co", "https://civitai.com"

_TRUE = ("1", "on", "true", "yes")
_DEFAULT_PORTS = {"https": 443, "http": 80}


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


@dataclass(frozen=True, slots=True)
class Network:
    """Sites, their tokens, and the retry policy. `repr` omits the tokens."""

    hub: str = HUB
    civitai: str = CIVITAI
    hub_token: str | None = field(default=None, repr=False)
    civitai_token: str | None = field(default=None, repr=False)
    hub_cache: Path | None = None  # the cache that huggingface_hub shares between programs
    offline: bool = False
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, *, offline: bool = False) -> "Network":
        """Read `HF_ENDPOINT`, `HF_TOKEN` or the login of `hf auth`, `HF_HOME`, `HF_HUB_OFFLINE`, `CIVITAI_TOKEN`.

        Also reads `CIVITAI_API_TOKEN`, and `ANIMDIFF_CIVITAI_ENDPOINT` for a mirror of Civitai.
        """
        from huggingface_hub import get_token

        return cls(
            hub=(environ.get("HF_ENDPOINT") or HUB).rstrip("/"),
            civitai=(environ.get("ANIMDIFF_CIVITAI_ENDPOINT") or CIVITAI).rstrip("/"),
            hub_token=get_token(),
            civitai_token=environ.get("CIVITAI_TOKEN") or environ.get("CIVITAI_API_TOKEN") or None,
            hub_cache=hub_cache_dir(environ),
            offline=offline or environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE,
        )

    def token_for(self, url: str) -> str | None:
        """Return the token to send with a request to `url`; None for any other site."""
        owners = ((self.hub, self.hub_token), (self.civitai, self.civitai_token))
        return next((token for site, token in owners if token and origin(site) == origin(url)), None)


def origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL. Only URLs of the same origin share a token."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme)


def host(url: str) -> str:
    """Return the host name of a URL, for messages."""
    return urlsplit(url).hostname or url


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
