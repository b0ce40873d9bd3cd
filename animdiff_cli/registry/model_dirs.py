"""Model directories: the layout of animdiff's own, those of ComfyUI and A1111, and the weights they hold.

| directory of                | folders by kind                                                                  |
|-----------------------------|----------------------------------------------------------------------------------|
| animdiff                    | `base`, `motion-module`, `lora` …: the names of the kinds                        |
| ComfyUI, or its `models`    | `models/checkpoints`, `loras`, `animatediff_models`, `animatediff_motion_lora` … |
| A1111, or its `models`      | `models/Stable-diffusion`, `Lora`, `VAE`, `ControlNet`; `embeddings`             |
| anything else               | weights of any kind in the directory itself                                      |

Files are listed by name. Nothing is opened, nothing is written.
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar, get_args

from animdiff_cli import paths
from animdiff_cli.core.refs import WEIGHT_SUFFIXES, ModelRef
from animdiff_cli.registry.catalog import CatalogEntry, Kind

K = TypeVar("K")

#: folder name in lower case → kind
KIND_FOLDERS: Mapping[str, Kind] = {kind: kind for kind in get_args(Kind)} | {
    "checkpoints": "base",
    "stable-diffusion": "base",
    "diffusers": "base",
    "loras": "lora",
    "lora": "lora",
    "lycoris": "lora",
    "vae": "vae",
    "embeddings": "embedding",
    "controlnet": "controlnet",
    "ipadapter": "ip-adapter",
    "clip_vision": "image-encoder",
    "animatediff_models": "motion-module",
    "animatediff_motion_lora": "motion-lora",
}
#: folders deeper inside a directory that the user names → kind; None: it has a subfolder per kind
INNER_FOLDERS: Mapping[str, Kind | None] = {
    "models": None,  # of ComfyUI and A1111
    "extensions/sd-webui-animatediff/model": "motion-module",
    "custom_nodes/ComfyUI-AnimateDiff-Evolved/models": "motion-module",
    "custom_nodes/ComfyUI-AnimateDiff-Evolved/motion_lora": "motion-lora",
}
#: kind → the kind whose folder other programs keep it in
KEPT_WITH: Mapping[Kind, Kind] = {"motion-lora": "lora", "domain-adapter": "lora", "sparsectrl": "controlnet"}

#: files that mark a folder as one model in diffusers' layout
MODEL_CONFIGS = ("model_index.json", "config.json")
#: suffixes of metadata files and unfinished downloads beside weights
COMPANION_SUFFIXES = (".json", ".part", ".part.jsonl", ".new")


MAX_NAME_BYTES = 180


@dataclass(frozen=True, slots=True)
class LocalWeights:
    """A weight file or model folder. `kind` follows from its parent folder; None if that folder takes any kind."""

    path: Path
    kind: Kind | None

    @property
    def name(self) -> str:
        """The name to type: a file's name without its suffix, or a model folder's name."""
        return self.path.stem if self.path.suffix.lower() in WEIGHT_SUFFIXES else self.path.name

    def may_be(self, kind: Kind) -> bool:
        """True if weights of this kind are kept in this folder."""
        return self.kind in (None, kind, KEPT_WITH.get(kind))


@dataclass(frozen=True)
class ModelDir:
    """One model directory, listed once. `is_own`: it is animdiff's own models folder."""

    root: Path
    is_own: bool = False

    @cached_property
    def weights(self) -> tuple[LocalWeights, ...]:
        """All weights in this directory, by path; empty if it does not exist or cannot be read."""
        each = {item.path: item for folder, kind in self._folders() for item in _walk(folder, kind)}
        return tuple(item for _, item in sorted(each.items()))

    def named(self, name: str, kind: Kind | None = None) -> list[LocalWeights]:
        """Return the weights with a name, ignoring case, that may be of `kind`."""
        return [w for w in self._by_name.get(name.lower(), ()) if kind is None or w.may_be(kind)]

    def with_file_names(self, names: Iterable[str]) -> list[LocalWeights]:
        """Return the weights with one of these file or folder names in lower case, by path."""
        found = (w for name in names for w in self._by_file_name.get(name, ()))
        return sorted(found, key=lambda w: w.path)

    def of_size(self, size: int) -> Sequence[LocalWeights]:
        """Return the weight files of `size` bytes, by path."""
        return self._by_size.get(size, ())

    # indexes, because a directory may hold thousands of files, and the catalog thousands of models

    @cached_property
    def _by_name(self) -> Mapping[str, Sequence[LocalWeights]]:
        return _grouped(self.weights, lambda weights: weights.name.lower())

    @cached_property
    def _by_file_name(self) -> Mapping[str, Sequence[LocalWeights]]:
        return _grouped(self.weights, lambda weights: weights.path.name.lower())

    @cached_property
    def _by_size(self) -> Mapping[int | None, Sequence[LocalWeights]]:
        return _grouped(self.weights, lambda weights: _file_size(weights.path))

    def _folders(self) -> Iterator[tuple[Path, Kind | None]]:
        """Yield the folders to list and the kind that each holds."""
        root_kind = None if self.is_own else KIND_FOLDERS.get(self.root.name.lower())
        if root_kind:
            yield self.root, root_kind
            return
        yield self.root, None
        inner = {} if self.is_own else INNER_FOLDERS
        roots = [self.root]
        for name, kind in inner.items():
            if kind is None:
                roots.append(self.root / name)
            else:
                yield self.root / name, kind
        for root in roots:
            for folder in _subfolders(root):
                if known := KIND_FOLDERS.get(folder.name.lower()):
                    yield folder, known


def model_dirs() -> tuple[ModelDir, ...]:
    """Return animdiff's models folder, then those of other programs in the order the user named them."""
    own = paths.models_dir()
    others = (ModelDir(folder) for folder in paths.extra_models_dirs() if folder != own)
    return (ModelDir(own, is_own=True), *others)


def download_path(entry: CatalogEntry) -> Path:
    """Return the path that an entry's file or folder is downloaded to, or bundled at. It need not exist."""
    if entry.bundled is not None:
        return paths.pocket_dir() / entry.bundled
    if entry.path is not None:
        return paths.expanded(entry.path)
    return paths.models_dir() / entry.kind / entry.store_name


def ref_download_path(ref: ModelRef) -> Path:
    """Return the path that an `hf:`, `civitai:` or URL reference is downloaded to. It need not exist.

    If the reference `names_one_file`, it is a folder with that file, because the site chooses the file name;
    `weights_in_folder` returns that file.
    """
    if ref.source == "hf":
        parts = [*ref.target.split("/"), *(f"@{ref.revision}".split("/") if ref.revision else [])]
        name = "--".join([*parts, *(ref.file.split("/") if ref.file else [])])
    elif ref.source == "civitai":
        name = f"civitai-{ref.target}-{ref.revision}"
    else:
        host = re.sub(r"[^\w.-]", "-", ref.target.partition("//")[2].partition("/")[0])
        # a hash, because URLs contain characters that file names cannot
        name = f"{host}-{hashlib.sha256(ref.target.encode(errors='surrogatepass')).hexdigest()[:10]}"
    return refs_dir() / _shortened(name)


def refs_dir() -> Path:
    """Return the folder of downloads that are not in the catalog."""
    return paths.models_dir() / "other"


def weights_in_folder(folder: Path) -> Path | None:
    """Return the one weight file in a folder from `ref_download_path`; None if there is none."""
    names = folder.iterdir() if folder.is_dir() else ()
    return next((path for path in names if path.is_file() and not is_companion_file(path.name)), None)


def is_present(path: Path) -> bool:
    """True for a file, and for a folder that is not empty."""
    return any(path.iterdir()) if path.is_dir() else path.is_file()


def is_companion_file(name: str) -> bool:
    """True for the name of a metadata file, an unfinished download or a hidden file."""
    return name.startswith(".") or name.endswith(COMPANION_SUFFIXES)


def is_model_folder(folder: Path) -> bool:
    """True if a folder is one model in diffusers' layout."""
    # unlike Path.is_file, os.path.isfile never raises for a folder without read permission
    return any(os.path.isfile(folder / config) for config in MODEL_CONFIGS)  # noqa: PTH113


def _walk(folder: Path, kind: Kind | None) -> Iterator[LocalWeights]:
    """Yield the weights in a folder: recursively if its kind is known, else only at its top level."""
    seen: set[str] = set()
    for at, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in seen:  # a symlink to a parent folder
            folders.clear()
            continue
        seen.add(real)
        for name in files:
            if name.lower().endswith(WEIGHT_SUFFIXES) and not is_companion_file(name):
                yield LocalWeights(Path(at, name), kind)
        if kind is None:
            folders.clear()
            continue
        models = [name for name in folders if not is_companion_file(name) and is_model_folder(Path(at, name))]
        yield from (LocalWeights(Path(at, name), kind) for name in models)
        folders[:] = [name for name in folders if not is_companion_file(name) and name not in models]


def _shortened(name: str) -> str:
    """Return a name with room for `.part.jsonl` below the usual limit of 255 bytes. Keeps the suffix."""
    encoded = name.encode(errors="surrogatepass")
    if len(encoded) <= MAX_NAME_BYTES:
        return name
    end = f"-{hashlib.sha256(encoded).hexdigest()[:10]}{Path(name).suffix[:20]}"
    return encoded[: MAX_NAME_BYTES - len(end.encode())].decode(errors="ignore") + end


def _grouped(weights: Iterable[LocalWeights], key: Callable[[LocalWeights], K]) -> Mapping[K, Sequence[LocalWeights]]:
    groups: dict[K, list[LocalWeights]] = {}
    for item in weights:
        groups.setdefault(key(item), []).append(item)
    return groups


def _file_size(path: Path) -> int | None:
    """Return the size of a file; None for a folder, or if another program has just moved it."""
    try:
        status = path.stat()
    except OSError:
        return None
    return None if stat.S_ISDIR(status.st_mode) else status.st_size


def _subfolders(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            return sorted(Path(entry) for entry in entries if entry.is_dir())
    except OSError:  # missing or not readable: `animdiff doctor` reports it
        return []
