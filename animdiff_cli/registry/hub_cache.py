"""The Hugging Face Hub cache: models that other programs downloaded, used in place.

Layout: `models--org--repo/refs/<branch>` holds a commit hash, `snapshots/<commit>/<file>` is a symlink to
`blobs/<etag>`, and the etag of a large file is its sha256.
https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import os
from collections.abc import Iterator
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.core.model_parts import NETWORKS
from animdiff_cli.core.refs import WEIGHT_SUFFIXES, ModelRef
from animdiff_cli.files.untrusted import read_bytes, read_json
from animdiff_cli.registry.model_dirs import is_model_folder

_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")


def find_in_hub_cache(ref: ModelRef, sha256: str | None = None, cache: Path | None = None) -> Path | None:
    """Return the cached file or complete diffusers folder of a Hub reference; None if it is not cached.

    With `sha256`, a matching file is returned from any snapshot, whatever revision `ref` names.
    """
    if ref.source != "hf":
        return None
    root = (cache or paths.hub_cache_dir()) / f"models--{ref.target.replace('/', '--')}"
    snapshot = _snapshot(root, ref.revision or "main")
    if ref.file is None:
        return snapshot if snapshot is not None and _is_complete(snapshot) else None
    candidates = [snapshot / ref.file] if snapshot is not None else []
    if sha256:
        candidates += root.glob(f"snapshots/*/{_glob_escaped(ref.file)}")
    return next((path for path in candidates if path.is_file() and _has_sha256(path, sha256)), None)


def list_hub_cache(cache: Path | None = None) -> Iterator[tuple[str, Path]]:
    """Yield the `hf:` reference and path of every complete model folder and single weight file in the cache.

    A commit with several branches or tags is listed once, under `main` if that is one of them.
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
            for path in [snapshot] if _is_complete(snapshot) else _single_files(snapshot):
                inside = "" if path == snapshot else f"/{path.relative_to(snapshot).as_posix()}"
                yield f"hf:{repository}{inside}{revision}", path


def _single_files(snapshot: Path) -> list[Path]:
    """Return weight files that are not a component of a diffusers folder."""
    found = (path for path in sorted(snapshot.rglob("*")) if path.name.lower().endswith(WEIGHT_SUFFIXES))
    return [path for path in found if path.is_file() and not is_model_folder(path.parent)]


def _snapshot(root: Path, revision: str) -> Path | None:
    """Return the snapshot folder of a commit, or of a branch or tag that `refs/` maps to a commit."""
    try:
        commit = read_bytes(root / "refs" / revision, max_bytes=1000).decode("utf-8").strip()
    except (OSError, ValueError):
        commit = revision
    folder = root / "snapshots" / commit
    return folder if commit and folder.is_dir() else None


def _is_complete(snapshot: Path) -> bool:
    """True if a diffusers folder loads as it is; False if it was downloaded in part, or only in half precision."""
    if not is_model_folder(snapshot):
        return False
    try:
        index = read_json(snapshot / "model_index.json")
    except (OSError, ValueError):
        return _has_weights(snapshot)  # a single component such as a VAE
    components = [name for name in NETWORKS if isinstance(index, dict) and name in index]
    others = [snapshot / "tokenizer", snapshot / "scheduler" / "scheduler_config.json"]
    return (
        bool(components)
        and all(_has_weights(snapshot / name) for name in components)
        and all(path.exists() for path in others)
    )


def _has_weights(component: Path) -> bool:
    """True if the weights have a name that diffusers loads by default; `model.fp16.safetensors` does not."""
    weights = (component / f"{stem}{suffix}" for stem in _STEMS for suffix in (".safetensors", ".bin"))
    return (component / "config.json").is_file() and any(path.is_file() for path in weights)


def _has_sha256(path: Path, sha256: str | None) -> bool:
    """Compare with the blob name, which is the hash. True if the cache has no symlinks: then there is no blob name."""
    if sha256 is None or not path.is_symlink():
        return True
    return Path(os.path.realpath(path)).name == sha256


def _glob_escaped(file: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in file)
