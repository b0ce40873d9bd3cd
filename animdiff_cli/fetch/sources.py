"""From a reference to what there is to fetch, whichever site it names."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import parse_qs, unquote, urlsplit

from animdiff_cli.core.refs import ModelRef
from animdiff_cli.errors import NetworkError, UsageError
from animdiff_cli.fetch.auth import CIVITAI, HUB, Network, origin
from animdiff_cli.fetch.civitai import offer_of_version
from animdiff_cli.fetch.http import RangeRefused, TransientError, ask, open_session
from animdiff_cli.fetch.hub import offer_from_cache, offer_of_file, offer_of_repository
from animdiff_cli.fetch.names import disposition_name, safe_name
from animdiff_cli.fetch.offer import Offer
from animdiff_cli.fetch.remote import Remote

_HUB_FILE = re.compile(r"/(?P<repo>[\w.-]+/[\w.-]+)/(?:resolve|blob|raw)/(?P<revision>[^/]+)/(?P<file>.+)")
_CIVITAI_PAGE = re.compile(r"/models/(?P<model>\d+)(?:/.*)?")
_CIVITAI_DOWNLOAD = re.compile(r"/api/download/models/(?P<version>\d+)")


def understand(ref: ModelRef, network: Network) -> ModelRef:
    """Read the address of a page or file on a known site as the reference it stands for, which knows more.

    >>> from animdiff_cli.core.refs import parse_ref
    >>> str(understand(parse_ref("https://huggingface.co/org/repo/blob/main/f.ckpt"), Network()))
    'hf:org/repo/f.ckpt@main'
    """
    if ref.source != "url":
        return ref
    parts = urlsplit(ref.target)
    if origin(ref.target) in (origin(network.hub), origin(HUB)) and (match := _HUB_FILE.fullmatch(parts.path)):
        return ModelRef("hf", match["repo"], unquote(match["file"]), unquote(match["revision"]))
    if origin(ref.target) not in (origin(network.civitai), origin(CIVITAI)):
        return ref
    page, version = _CIVITAI_PAGE.fullmatch(parts.path), parse_qs(parts.query).get("modelVersionId")
    if page and version and version[0].isdecimal():
        return ModelRef("civitai", page["model"], revision=version[0])
    if page:
        raise UsageError(
            f"{ref.target} is a page of several versions",
            hint="choose one there: its address ends in `?modelVersionId=…`",
        )
    download = _CIVITAI_DOWNLOAD.fullmatch(parts.path)
    # the model's own number is not in such an address; nothing asks for it
    return ModelRef("civitai", "0", revision=download["version"]) if download and not parts.query else ref


def find_offer(ref: ModelRef, network: Network) -> Offer:
    """Ask the site a reference names what it has, with patience. Raises AnimdiffError."""
    tries = 0
    while True:
        try:
            return look(ref, network)
        except TransientError as failure:
            tries += 1
            wait_s = network.retry_policy.wait_s(tries, failure.wait_s)
            if wait_s is None:
                raise failure.error from failure
            time.sleep(wait_s)


def look(ref: ModelRef, network: Network) -> Offer:
    """Ask once. Raises Passing for what another try may cure."""
    if network.offline:
        return _offline(ref, network)
    offer = _ASK[ref.source](ref, network)
    return replace(offer, ref=ref)


def _offline(ref: ModelRef, network: Network) -> Offer:
    offer = offer_from_cache(ref, network) if ref.source == "hf" else None
    if offer is None:
        raise NetworkError(
            f"offline: `{ref}` is not on this machine", hint="run it without `--offline`, and `unset HF_HUB_OFFLINE`"
        )
    return offer


def _hub(ref: ModelRef, network: Network) -> Offer:
    return offer_of_file(ref, network) if ref.file else offer_of_repository(ref, network)


def _web(ref: ModelRef, network: Network) -> Offer:
    """Ask for the first byte: that tells size and name where a bare HEAD is often refused."""
    with open_session(network) as session:
        try:
            answer = ask(session, ref.target, network, (0, 1))
        except RangeRefused:
            answer = ask(session, ref.target, network)
        answer.response.close()
    suggested = disposition_name(answer.response.headers.get("Content-Disposition"))
    name = safe_name(suggested or unquote(urlsplit(ref.target).path))
    return Offer(ref, (Remote(ref.target, name, answer.size),))


_ASK: Mapping[str, Callable[[ModelRef, Network], Offer]] = {"hf": _hub, "civitai": offer_of_version, "url": _web}
