"""Resolve a reference to remote files, whichever site it names: Hub, Civitai, a plain URL or a storage system."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from animdiff_cli.core.refs import ModelRef
from animdiff_cli.errors import NetworkError
from animdiff_cli.fetch.civitai import resolve_version
from animdiff_cli.fetch.http import RangeNotSatisfiable, TransientError, get_file, open_session
from animdiff_cli.fetch.hub import resolve_file, resolve_from_cache, resolve_repository
from animdiff_cli.fetch.names import disposition_name, download_name
from animdiff_cli.fetch.network import Network
from animdiff_cli.fetch.remote import RemoteFile, ResolvedRef
from animdiff_cli.fetch.storage import is_stored, resolve_stored


def resolve(ref: ModelRef, network: Network) -> ResolvedRef:
    """Resolve a reference at its site, with retries. Raises AnimdiffError."""
    failures = 0
    while True:
        try:
            return resolve_once(ref, network)
        except TransientError as failure:
            failures += 1
            delay_s = network.retry_policy.delay_s(failures, failure.wait_s)
            if delay_s is None:
                raise failure.error from failure
            time.sleep(delay_s)


def resolve_once(ref: ModelRef, network: Network) -> ResolvedRef:
    """Resolve a reference without retries. Raises TransientError for a failure that a retry may fix."""
    if network.offline:
        return _resolve_offline(ref, network)
    return replace(_RESOLVERS[ref.source](ref, network), ref=ref)


def _resolve_offline(ref: ModelRef, network: Network) -> ResolvedRef:
    resolved = resolve_from_cache(ref, network) if ref.source == "hf" else None
    if resolved is None:
        raise NetworkError(
            f"offline: `{ref}` is not on this machine", hint="run it without `--offline`, and `unset HF_HUB_OFFLINE`"
        )
    return resolved


def _resolve_hub(ref: ModelRef, network: Network) -> ResolvedRef:
    return resolve_file(ref, network) if ref.file else resolve_repository(ref, network)


def _resolve_url(ref: ModelRef, network: Network) -> ResolvedRef:
    """Request the first byte to read size and name. Many servers refuse HEAD requests."""
    if is_stored(ref.target):
        return resolve_stored(ref)
    with open_session(network) as session:
        try:
            file = get_file(session, ref.target, network, (0, 1))
        except RangeNotSatisfiable:
            file = get_file(session, ref.target, network)
        file.response.close()
    suggested = disposition_name(file.response.headers.get("Content-Disposition"))
    name = download_name([suggested, *(unquote(urlsplit(url).path) for url in (ref.target, file.response.url))])
    return ResolvedRef(ref, (RemoteFile(ref.target, name, file.size),))


_RESOLVERS: Mapping[str, Callable[[ModelRef, Network], ResolvedRef]] = {
    "hf": _resolve_hub,
    "civitai": resolve_version,
    "url": _resolve_url,
}
