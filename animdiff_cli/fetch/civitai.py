"""Civitai: a version of a model, described by its public interface."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from animdiff_cli.core.refs import ModelRef
from animdiff_cli.errors import NetworkError, NotFound
from animdiff_cli.fetch.auth import Network, origin
from animdiff_cli.fetch.http import get_json, host, open_session
from animdiff_cli.fetch.names import safe_name
from animdiff_cli.fetch.offer import Offer
from animdiff_cli.fetch.remote import Remote


class _Hashes(BaseModel):
    SHA256: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{64}$")] | None = None


class _File(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    name: str
    type: str = ""
    size_kb: float | None = Field(None, alias="sizeKB")
    hashes: _Hashes = _Hashes()
    primary: bool = False
    download_url: str | None = Field(None, alias="downloadUrl")


class _Version(BaseModel):
    files: list[_File] = []
    download_url: str | None = Field(None, alias="downloadUrl")


def offer_of_version(ref: ModelRef, network: Network) -> Offer:
    """Ask what file a version consists of: the one its author marked as primary, else the first model file."""
    url = f"{network.civitai}/api/v1/model-versions/{ref.revision}"
    with open_session(network) as session:
        answer = get_json(session, url, network)
    try:
        version = _Version.model_validate(answer)
    except ValidationError as error:
        raise NetworkError(f"{host(url)} describes `{ref}` in words nobody knows", hint="run it again later") from error
    file = _choose(version.files)
    if file is None:
        raise NotFound(f"`{ref}` has no file to download", hint=f"see {network.civitai}/models/{ref.target}")
    address = file.download_url or version.download_url or f"{network.civitai}/api/download/models/{ref.revision}"
    size = None if file.size_kb is None else round(file.size_kb * 1024)
    sha256 = file.hashes.SHA256.lower() if file.hashes.SHA256 else None
    return Offer(ref, (Remote(_own(address, ref, network), safe_name(file.name), size, sha256),), revision=ref.revision)


def _choose(files: list[_File]) -> _File | None:
    models = [file for file in files if file.type in ("Model", "Pruned Model", "")]
    ranked = sorted(models or files, key=lambda file: not file.primary)
    return ranked[0] if ranked else None


def _own(address: str, ref: ModelRef, network: Network) -> str:
    """Keep to the site that was asked: a download address elsewhere would not get the token it needs."""
    if origin(address) == origin(network.civitai):
        return address
    return f"{network.civitai}/api/download/models/{ref.revision}"
