"""Who may be told which token: each goes to its own site, over the way it was set up, and nowhere else."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from animdiff_cli.fetch.retry import RetryPolicy
from animdiff_cli.paths import hub_cache_dir

HUB, CIVITAI = "https://huggingface.co", "https://civitai.com"

_TRUE = ("1", "on", "true", "yes")
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Network:
    """The sites to ask, the tokens for them, and how patient to be. Tokens are never shown."""

    hub: str = HUB
    civitai: str = CIVITAI
    hub_token: str | None = field(default=None, repr=False)
    civitai_token: str | None = field(default=None, repr=False)
    hub_cache: Path | None = None  # where other programs keep what they got from the Hub
    offline: bool = False
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, *, offline: bool = False) -> "Network":
        """Read `HF_ENDPOINT`, `HF_TOKEN` or the login of `hf auth`, `HF_HOME`, `HF_HUB_OFFLINE`, `CIVITAI_TOKEN`.

        `CIVITAI_API_TOKEN` is read too, and `ANIMDIFF_CIVITAI_ENDPOINT` names a mirror of Civitai.
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
        """Find the token that may be sent with a request to this address; None for everybody else's."""
        owners = ((self.hub, self.hub_token), (self.civitai, self.civitai_token))
        return next((token for site, token in owners if token and origin(site) == origin(url)), None)


def origin(url: str) -> tuple[str, str, int | None]:
    """Tell scheme, host and port of an address: two addresses of one origin share a token, others never do."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme)
