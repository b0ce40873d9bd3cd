"""The Hugging Face Hub: resolve references through `huggingface_hub`, which applies the user's own settings.

Repositories hold the same weights several times: pickles beside safetensors, half precision beside full, single files
beside folders, exports for other frameworks. `choose_files` selects one copy, by file name alone.
"""

import re
from collections.abc import Iterable, Iterator
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

from animdiff_cli.core.model_parts import BASES, MODEL_PARTS
from animdiff_cli.core.refs import ModelRef
from animdiff_cli.core.urls import redacted
from animdiff_cli.errors import AnimdiffError, NetworkError, NotFound, UsageError
from animdiff_cli.fetch.http import TRANSIENT_STATUSES, TransientError, connection_failed, proxy_failure, unauthorized
from animdiff_cli.fetch.network import Network, host, retry_after_s
from animdiff_cli.fetch.remote import RemoteFile, ResolvedRef, require_relative

#: tokenizer and image processor files of a repository with a single component
PROCESSOR_FILES = (
    "merges.txt",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
SHA256_DIGITS = 64

_WEIGHT_NAME = re.compile(
    r"(?P<stem>[\w-]+?)(?:\.(?P<variant>fp16|bf16|non_ema|ema))?"
    r"(?P<shard>-\d{5}-of-\d{5})?(?:\.(?P<late>fp16|bf16|non_ema))?(?P<suffix>\.safetensors|\.bin)"
)
_COMPONENT_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
_CONFIG_NAME = re.compile(r"(?:[\w-]+\.json|merges\.txt|vocab\.txt|spiece\.model)")


def resolve_file(ref: ModelRef, network: Network) -> ResolvedRef:
    """Request size, commit and, for LFS files, the sha256 of one file in a repository."""
    file = ref.file or ""
    with _hub_errors(ref, network):
        url = hf_hub_url(ref.target, file, revision=ref.revision, endpoint=network.hub)
        meta = get_hf_file_metadata(url, token=network.hub_token or False, endpoint=network.hub)
        commit_url = hf_hub_url(ref.target, file, revision=meta.commit_hash or ref.revision, endpoint=network.hub)
    sha256 = meta.etag if meta.etag and len(meta.etag) == SHA256_DIGITS else None
    remote = RemoteFile(commit_url, PurePosixPath(file).name, meta.size, sha256, exact_size=True)
    cached = _cached_file(ref, file, meta.commit_hash, network)
    return ResolvedRef(ref, (remote,), {remote.name: cached} if cached else {}, revision=meta.commit_hash)


def resolve_repository(ref: ModelRef, network: Network) -> ResolvedRef:
    """Request the files of a whole model at one commit."""
    api = HfApi(endpoint=network.hub, token=network.hub_token or False)
    with _hub_errors(ref, network):
        info = api.model_info(ref.target, revision=ref.revision, files_metadata=True)
    siblings = {require_relative(sibling.rfilename): sibling for sibling in info.siblings or []}
    remotes, cached = [], {}
    for name in choose_files(siblings, ref.target):
        sibling = siblings[name]
        url = hf_hub_url(ref.target, name, revision=info.sha or ref.revision, endpoint=network.hub)
        sha256 = sibling.lfs.sha256 if sibling.lfs else None
        git_sha1 = None if sha256 else sibling.blob_id
        remotes.append(RemoteFile(url, stored_name(name), sibling.size, sha256, git_sha1, exact_size=True))
        if path := _cached_file(ref, name, info.sha, network):
            cached[stored_name(name)] = path
    return ResolvedRef(ref, tuple(remotes), cached, is_folder=True, revision=info.sha)


def resolve_from_cache(ref: ModelRef, network: Network) -> ResolvedRef | None:
    """Find a file or a whole model in the Hub cache, without the network. None if any file is missing."""
    if ref.file:
        path = _cached_file(ref, ref.file, ref.revision, network)
        name = PurePosixPath(ref.file).name
        return ResolvedRef(ref, (RemoteFile("", name, path.stat().st_size),), {name: path}) if path else None
    root = _cached_file(ref, "model_index.json", ref.revision, network) or _cached_file(
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
    remotes = tuple(RemoteFile("", name, path.stat().st_size) for name, path in cached.items())
    return ResolvedRef(ref, remotes, cached, is_folder=True, revision=snapshot.name)


def choose_files(names: Iterable[str], repo: str) -> tuple[str, ...]:
    """Choose the files to download from a whole repository. Raises UsageError if the choice is ambiguous.

    Returns the components of a pipeline; config, weights and tokenizer of a single component; or the only weight file.
    """
    names = sorted(names)
    if "model_index.json" in names:
        return ("model_index.json", *_pipeline_files(names, repo))
    root = [name for name in names if "/" not in name]
    if "config.json" in root and (weights := _weight_files(root)):
        return ("config.json", *weights, *(name for name in root if name in PROCESSOR_FILES))
    single_files = [name for name in names if name.endswith(WEIGHT_SUFFIXES)]
    if len(single_files) == 1:
        return (single_files[0],)
    if not single_files:
        raise UsageError(f"`hf:{repo}` has no weight files", hint="check the name of the repository")
    listed = ", ".join(single_files[:3]) + (", …" if len(single_files) > 3 else "")
    raise UsageError(
        f"`hf:{repo}` has {len(single_files)} weight files: {listed}", hint=f"name one: `hf:{repo}/{single_files[0]}`"
    )


def stored_name(name: str) -> str:
    """Return the local name of a chosen file: without the variant, because only one copy is stored.

    >>> stored_name("unet/diffusion_pytorch_model.fp16.safetensors")
    'unet/diffusion_pytorch_model.safetensors'
    """
    folder, slash, last = name.rpartition("/")
    match = _WEIGHT_NAME.fullmatch(last)
    if match is None or match["stem"] not in _COMPONENT_STEMS or match["shard"]:
        return name
    return f"{folder}{slash}{match['stem']}{match['suffix']}"


def _pipeline_files(names: list[str], repo: str) -> list[str]:
    chosen: list[str] = []
    for part in MODEL_PARTS:
        inside = [name for name in names if PurePosixPath(name).parent.as_posix() == part.name]
        configs = [name for name in inside if _CONFIG_NAME.fullmatch(PurePosixPath(name).name) and "index" not in name]
        weights = _weight_files(inside)
        is_required = part.bases == BASES
        if is_required and not (configs and (weights or part.weights_stem is None)):
            raise UsageError(
                f"`hf:{repo}` has no usable `{part.name}`",
                hint=f"name a single-file checkpoint in it: `hf:{repo}/FILE.safetensors`",
            )
        chosen += configs + weights
    return chosen


def _weight_files(names: Iterable[str]) -> list[str]:
    """Choose one copy of a component's weights: safetensors before pickles, no variant before variants."""
    copies: dict[tuple[bool, bool, str], list[str]] = {}
    for name in names:
        match = _WEIGHT_NAME.fullmatch(PurePosixPath(name).name)
        if match and match["stem"] in _COMPONENT_STEMS:
            variant = match["variant"] or match["late"] or ""
            copies.setdefault((match["suffix"] != ".safetensors", bool(variant), variant), []).append(name)
    if not copies:
        return []
    best = min(copies)
    sharded = any("-of-" in name for name in copies[best])
    index = [name for name in names if name.endswith(".index.json")] if sharded else []
    suffix = ".safetensors" if not best[0] else ".bin"
    return copies[best] + [name for name in index if suffix in name and (best[2] in name if best[2] else True)]


def _cached_file(ref: ModelRef, file: str, revision: str | None, network: Network) -> Path | None:
    """Find a file in the Hub cache."""
    if network.hub_cache is None:
        return None
    found = try_to_load_from_cache(ref.target, file, cache_dir=network.hub_cache, revision=revision)
    return Path(found) if isinstance(found, str) and Path(found).is_file() else None


@contextmanager
def _hub_errors(ref: ModelRef, network: Network) -> Iterator[None]:
    """Map exceptions of `huggingface_hub` to `AnimdiffError` and `TransientError`."""
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise NetworkError(f"offline: cannot fetch `{ref}`", hint="run `unset HF_HUB_OFFLINE`") from error
    except HFValidationError as error:
        raise UsageError(f"`{ref}` is not a valid repository name", hint="type `hf:org/repo/file`") from error
    except HfHubHTTPError as error:
        raise _status_error(error, ref, network) from error
    except Exception as error:
        if failure := proxy_failure(network.hub, error):
            raise failure from error
        # connection errors belong to whichever HTTP library this version of the client uses
        if type(error).__module__.partition(".")[0] not in ("httpx2", "httpx", "httpcore2", "httpcore", "requests"):
            raise
        raise TransientError(connection_failed(network.hub)) from error


def _status_error(error: HfHubHTTPError, ref: ModelRef, network: Network) -> AnimdiffError | TransientError:
    status = error.response.status_code if error.response is not None else 0
    site = host(network.hub)
    if isinstance(error, GatedRepoError):
        return unauthorized(network.hub, network)
    if isinstance(error, RepositoryNotFoundError):
        hint = "check the name; if it is private: `hf auth login` or `export HF_TOKEN=…`"
        return NotFound(f"{site} has no repository `{ref.target}`", hint=hint)
    if isinstance(error, RevisionNotFoundError):
        return NotFound(f"`{ref.target}` has no revision `{ref.revision}`", hint="omit `@…` to get the latest")
    if isinstance(error, EntryNotFoundError) or status == 404:
        return NotFound(
            f"`{ref.target}` has no file `{ref.file}`", hint=f"see {redacted(network.hub)}/{ref.target}/tree/main"
        )
    if status in (401, 403):
        return unauthorized(network.hub, network)
    failure = NetworkError(f"{site} returned status {status}", hint="wait a little, then run it again")
    wait_s = retry_after_s(error.response.headers) if error.response is not None else None
    return TransientError(failure, wait_s) if status in TRANSIENT_STATUSES else failure
