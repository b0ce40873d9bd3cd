"""URLs of the Hugging Face Hub and Civitai, as copied from a browser, and the references they stand for."""

import re
from urllib.parse import parse_qs, unquote, urlsplit

from animdiff_cli.core.refs import ModelRef, parse_ref
from animdiff_cli.core.urls import origin
from animdiff_cli.errors import UsageError

HUB, CIVITAI = "https://huggingface.co", "https://civitai.com"

#: first part of paths on the Hub that are no model repository
_NOT_MODELS = "datasets|spaces|docs|collections|papers|blog|models|api|organizations|settings|posts|tasks|learn"
_HUB_FILE = re.compile(r"/(?P<repo>[\w.-]+/[\w.-]+)/(?:resolve|blob|raw)/(?P<revision>[^/]+)/(?P<file>.+)")
_HUB_REPOSITORY = re.compile(
    rf"/(?P<repo>(?!(?:{_NOT_MODELS})/)[\w.-]+/[\w.-]+)(?:/tree/(?P<revision>[^/]+))?/?", re.ASCII
)
_CIVITAI_PAGE = re.compile(r"/models/(?P<model>\d+)(?:/.*)?", re.ASCII)
_CIVITAI_DOWNLOAD = re.compile(r"/api/download/models/(?P<version>\d+)", re.ASCII)


def canonical_ref(ref: ModelRef, hub: str = HUB, civitai: str = CIVITAI) -> ModelRef:
    """Convert the URL of a Hub file or repository, or of a Civitai page, to an `hf:` or `civitai:` reference.

    Returns other references unchanged. `hub` and `civitai`: mirrors that the user has set. Raises UsageError for a
    page of several versions.

    >>> str(canonical_ref(parse_ref("https://huggingface.co/org/repo/blob/main/f.ckpt")))
    'hf:org/repo/f.ckpt@main'
    """
    if ref.source != "url":
        return ref
    parts = urlsplit(ref.target)
    if origin(ref.target) in (origin(hub), origin(HUB)):
        if match := _HUB_FILE.fullmatch(parts.path):
            return parse_ref(f"hf:{match['repo']}/{unquote(match['file'])}@{unquote(match['revision'])}")
        match = _HUB_REPOSITORY.fullmatch(parts.path)
        if match is None:
            return ref
        return parse_ref(f"hf:{match['repo']}" + (f"@{unquote(match['revision'])}" if match["revision"] else ""))
    if origin(ref.target) not in (origin(civitai), origin(CIVITAI)):
        return ref
    page, version = _CIVITAI_PAGE.fullmatch(parts.path), parse_qs(parts.query).get("modelVersionId")
    if page and version and re.fullmatch(r"\d+", version[0], re.ASCII):
        return ModelRef("civitai", page["model"], revision=version[0])
    if page:
        raise UsageError(
            f"{ref.target} lists several versions",
            hint="choose one on that page: its URL ends in `?modelVersionId=…`",
        )
    download = _CIVITAI_DOWNLOAD.fullmatch(parts.path)
    # such a URL does not contain the model id, and no request needs it
    return ModelRef("civitai", "0", revision=download["version"]) if download and not parts.query else ref
