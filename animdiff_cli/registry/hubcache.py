"""The cache of the Hugging Face Hub: what other programs got from there, used where it lies.

Layout: `models--org--repo/refs/<branch>` holds a commit, `snapshots/<commit>/<file>` is a link to `blobs/<etag>`,
and the etag of a large file is its sha256. https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import os
from collections.abc import Iterator
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.core.model_parts import NETWORKS
from animdiff_cli.core.refs import WEIGHT_SUFFIXES, ModelRef
from animdiff_cli.files.untrusted import read_json
from animdiff_cli.registry.model_dirs import is_model_folder

_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")


def in_hub_cache(ref: ModelRef, sha256: str | None = None, cache: Path | None = None) -> Path | None:
    """Find a file, or a whole diffusers folder, that another program got from the Hub; None where it is not there.

    With `sha256` any snapshot will do that has this very file, whatever revision was named.
    """
    if ref.source != "hf":
        return None
    root = (cache or paths.hub_cache_dir()) / f"models--{ref.target.replace('/', '--')}"
    snapshot = _snapshot(root, ref.revision or "main")
    if ref.file is None:
        return snapshot if snapshot is not None and _is_whole(snapshot) else None
    found = snapshot / ref.file if snapshot is not None else None
    candidates = [found] if found is not None else []
    if sha256:
        candidates += root.glob(f"snapshots/*/{_literal(ref.file)}")
    return next((p for p in candidates if p.is_file() and _has_hash(p, sha256)), None)


def cached(cache: Path | None = None) -> Iterator[tuple[str, Path]]:
    """List what lies in the cache by what to type for it, whatever it is: whole folders, else weight files.

    A commit that several branches or tags name is listed once, under `main` if that is one of them.
    """
    for root in sorted((cache or paths.hub_cache_dir()).glob("models--*--*")):
        repository = root.name.removeprefix("models--").replace("--", "/", 1)
        names = sorted((ref.name for ref in root.glob("refs/*") if ref.is_file()), key=lambda name: name != "main")
        listed: set[Path] = set()
        for name in names:
            snapshot = _snapshot(root, name)
            if snapshot is None or snapshot in listed:
                continue
            listed.add(snapshot)
            revision = "" if name == "main" else f"@{name}"
            for path in [snapshot] if _is_whole(snapshot) else _single_files(snapshot):
                inside = "" if path == snapshot else f"/{path.relative_to(snapshot).as_posix()}"
                yield f"hf:{repository}{inside}{revision}", path


def _single_files(snapshot: Path) -> list[Path]:
    """List weight files that are no part of a diffusers folder, which they would be useless without."""
    found = (path for path in sorted(snapshot.rglob("*")) if path.name.lower().endswith(WEIGHT_SUFFIXES))
    return [path for path in found if path.is_file() and not is_model_folder(path.parent)]


def _snapshot(root: Path, revision: str) -> Path | None:
    """Find the folder of a revision: a commit, or a branch or tag that the cache knows the commit of."""
    try:
        commit = (root / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        commit = revision
    folder = root / "snapshots" / commit
    return folder if commit and folder.is_dir() else None


def _is_whole(snapshot: Path) -> bool:
    """Tell a model folder that loads as it is from one that was fetched in part, or in half precision only."""
    if not is_model_folder(snapshot):
        return False
    try:
        index = read_json(snapshot / "model_index.json")
    except (OSError, ValueError):
        return _has_weights(snapshot)  # one part alone, such as a VAE
    weighted = [part for part in NETWORKS if part in index]
    others = [snapshot / "tokenizer", snapshot / "scheduler" / "scheduler_config.json"]
    return bool(weighted) and all(_has_weights(snapshot / p) for p in weighted) and all(o.exists() for o in others)


def _has_weights(part: Path) -> bool:
    """Look for weights under the names that diffusers loads unasked; `model.fp16.safetensors` is not one."""
    weights = (part / f"{stem}{suffix}" for stem in _STEMS for suffix in (".safetensors", ".bin"))
    return (part / "config.json").is_file() and any(path.is_file() for path in weights)


def _has_hash(path: Path, sha256: str | None) -> bool:
    """Compare by the name of the blob, which is the hash; a cache without links cannot tell, and is believed."""
    if sha256 is None or not path.is_symlink():
        return True
    return Path(os.path.realpath(path)).name == sha256


def _literal(file: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in file)
