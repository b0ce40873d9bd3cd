"""The Hugging Face Hub: asked for names, sizes and hashes through its own client, which honours its own settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from animdiff_cli.core.refs import ModelRef
from animdiff_cli.errors import AnimdiffError, NetworkError, NotFound, UsageError
from animdiff_cli.fetch.auth import Network
from animdiff_cli.fetch.http import PASSING, TransientError, host, unauthorized, unreachable
from animdiff_cli.fetch.hubfiles import choose_files, stored_name
from animdiff_cli.fetch.names import require_inside
from animdiff_cli.fetch.offer import Offer
from animdiff_cli.fetch.remote import Remote
from animdiff_cli.fetch.retry import asked_wait_s

SHA256_DIGITS = 64


def offer_of_file(ref: ModelRef, network: Network) -> Offer:
    """Ask for one file of a repository: its size, its hash where the Hub has one, the commit it belongs to."""
    file = ref.file or ""
    with _failures(ref, network):
        url = hf_hub_url(ref.target, file, revision=ref.revision, endpoint=network.hub)
        meta = get_hf_file_metadata(url, token=network.hub_token or False, endpoint=network.hub)
        pinned = hf_hub_url(ref.target, file, revision=meta.commit_hash or ref.revision, endpoint=network.hub)
    sha256 = meta.etag if meta.etag and len(meta.etag) == SHA256_DIGITS else None
    remote = Remote(pinned, PurePosixPath(file).name, meta.size, sha256, pinned=True)
    cached = cached_file(ref, file, meta.commit_hash, network)
    return Offer(ref, (remote,), {remote.name: cached} if cached else {}, revision=meta.commit_hash)


def offer_of_repository(ref: ModelRef, network: Network) -> Offer:
    """Ask for all files that a whole model consists of, at one commit."""
    api = HfApi(endpoint=network.hub, token=network.hub_token or False)
    with _failures(ref, network):
        info = api.model_info(ref.target, revision=ref.revision, files_metadata=True)
    siblings = {require_inside(sibling.rfilename): sibling for sibling in info.siblings or []}
    remotes, cached = [], {}
    for name in choose_files(siblings, ref.target):
        sibling = siblings[name]
        url = hf_hub_url(ref.target, name, revision=info.sha or ref.revision, endpoint=network.hub)
        sha256 = sibling.lfs.sha256 if sibling.lfs else None
        blob = None if sha256 else sibling.blob_id
        remotes.append(Remote(url, stored_name(name), sibling.size, sha256, blob, pinned=True))
        if here := cached_file(ref, name, info.sha, network):
            cached[stored_name(name)] = here
    return Offer(ref, tuple(remotes), cached, is_folder=True, revision=info.sha)


def offer_from_cache(ref: ModelRef, network: Network) -> Offer | None:
    """Find a file, or a whole model, in the Hub cache without the network; None where any of it is missing."""
    if ref.file:
        here = cached_file(ref, ref.file, ref.revision, network)
        name = PurePosixPath(ref.file).name
        return Offer(ref, (Remote("", name, here.stat().st_size),), {name: here}) if here else None
    root = cached_file(ref, "model_index.json", ref.revision, network) or cached_file(
        ref, "config.json", ref.revision, network
    )
    if root is None:
        return None
    snapshot = root.parent
    names = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]
    try:
        chosen = choose_files(names, ref.target)
    except UsageError:  # a component was never downloaded
        return None
    cached = {stored_name(name): snapshot / name for name in chosen}
    remotes = tuple(Remote("", name, path.stat().st_size) for name, path in cached.items())
    return Offer(ref, remotes, cached, is_folder=True, revision=snapshot.name)


def cached_file(ref: ModelRef, file: str, revision: str | None, network: Network) -> Path | None:
    """Find a file that another program got from the Hub."""
    if network.hub_cache is None:
        return None
    found = try_to_load_from_cache(ref.target, file, cache_dir=network.hub_cache, revision=revision)
    return Path(found) if isinstance(found, str) and Path(found).is_file() else None


@contextmanager
def _failures(ref: ModelRef, network: Network) -> Iterator[None]:
    """Turn what the Hub's client raises into our own errors."""
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise NetworkError(f"offline: `{ref}` cannot be fetched", hint="run `unset HF_HUB_OFFLINE`") from error
    except HFValidationError as error:
        raise UsageError(f"`{ref}` is no name of a repository", hint="type `hf:org/repo/file`") from error
    except HfHubHTTPError as error:
        raise _status_error(error, ref, network) from error
    except Exception as error:
        # connections fail with an exception of whichever HTTP library the client is built on
        if type(error).__module__.partition(".")[0] not in ("httpx2", "httpx", "httpcore2", "httpcore", "requests"):
            raise
        raise TransientError(unreachable(network.hub)) from error


def _status_error(error: HfHubHTTPError, ref: ModelRef, network: Network) -> AnimdiffError | TransientError:
    status = error.response.status_code if error.response is not None else 0
    site = host(network.hub)
    if isinstance(error, GatedRepoError):
        return unauthorized(network.hub, network)
    if isinstance(error, RepositoryNotFoundError):
        hint = "check the name; if it is private: `hf auth login` or `export HF_TOKEN=…`"
        return NotFound(f"{site} shows no repository `{ref.target}`", hint=hint)
    if isinstance(error, RevisionNotFoundError):
        return NotFound(f"`{ref.target}` has no revision `{ref.revision}`", hint="leave `@…` out for the newest")
    if isinstance(error, EntryNotFoundError) or status == 404:
        return NotFound(f"`{ref.target}` has no file `{ref.file}`", hint=f"see {network.hub}/{ref.target}/tree/main")
    if status in (401, 403):
        return unauthorized(network.hub, network)
    failure = NetworkError(f"{site} answered with status {status}", hint="wait a little, then run it again")
    asked = asked_wait_s(error.response.headers) if error.response is not None else None
    return TransientError(failure, asked) if status in PASSING else failure
