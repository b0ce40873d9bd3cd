"""Civitai: resolve a model version through its public REST API."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from animdiff_cli.core.refs import ModelRef
from animdiff_cli.core.urls import is_valid_url, origin, redacted
from animdiff_cli.errors import NetworkError, NotFound
from animdiff_cli.fetch.http import get_json, open_session
from animdiff_cli.fetch.names import safe_name
from animdiff_cli.fetch.network import Network, host
from animdiff_cli.fetch.remote import RemoteFile, ResolvedRef


class _Hashes(BaseModel):
    SHA256: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{64}$")] | None = None


class _File(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    name: str
    type: str = ""
    size_kb: float | None = Field(None, alias="sizeKB", ge=0, lt=1e12, allow_inf_nan=False)
    hashes: _Hashes = _Hashes()
    primary: bool = False
    download_url: str | None = Field(None, alias="downloadUrl")


class _Version(BaseModel):
    files: list[_File] = []
    download_url: str | None = Field(None, alias="downloadUrl")


def resolve_version(ref: ModelRef, network: Network) -> ResolvedRef:
    """Request the file of a model version: the primary one, else the first model file."""
    url = f"{network.civitai}/api/v1/model-versions/{ref.revision}"
    with open_session(network) as session:
        body = get_json(session, url, network)
    try:
        version = _Version.model_validate(body)
    except ValidationError as error:
        message = f"unexpected response from {host(url)} for `{ref}`"
        raise NetworkError(message, hint="run it again later") from error
    file = _choose(version.files)
    if file is None:
        raise NotFound(f"`{ref}` has no file to download", hint=f"see {redacted(network.civitai)}/models/{ref.target}")
    default_url = f"{network.civitai}/api/download/models/{ref.revision}"
    download_url = file.download_url or version.download_url or default_url
    if not is_valid_url(download_url) or origin(download_url) != origin(
        network.civitai
    ):  # the token is sent to Civitai only
        download_url = default_url
    size = None if file.size_kb is None else round(file.size_kb * 1024)
    sha256 = file.hashes.SHA256.lower() if file.hashes.SHA256 else None
    remote = RemoteFile(download_url, safe_name(file.name), size, sha256)
    return ResolvedRef(ref, (remote,), revision=ref.revision)


def _choose(files: list[_File]) -> _File | None:
    models = [file for file in files if file.type in ("Model", "Pruned Model", "")]
    ranked = sorted(models or files, key=lambda file: not file.primary)
    return ranked[0] if ranked else None
