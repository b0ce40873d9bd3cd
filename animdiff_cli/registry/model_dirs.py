"""Shelves: the folders that weights lie in, ours and those of ComfyUI and A1111, and what lies there by name.

| folder of                   | where its kinds lie                                                              |
|-----------------------------|----------------------------------------------------------------------------------|
| animdiff                    | `base`, `motion-module`, `lora` …: the names of the kinds                        |
| ComfyUI, or its `models`    | `models/checkpoints`, `loras`, `animatediff_models`, `animatediff_motion_lora` … |
| A1111, or its `models`      | `models/Stable-diffusion`, `Lora`, `VAE`, `ControlNet`; `embeddings`             |
| anything else               | weights in the folder itself, of whatever kind they are                          |

Nothing is opened here and nothing written: whose folder it is decides what is in it.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

from animdiff_cli import paths
from animdiff_cli.core.refs import WEIGHT_SUFFIXES
from animdiff_cli.registry.catalog import Kind

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
    "animatediff_models": "motion-module",
    "animatediff_motion_lora": "motion-lora",
}
#: places further in, below the folder that a person names
INNER_FOLDERS: Mapping[str, Kind | None] = {
    "models": None,  # of ComfyUI and A1111: has folders of kinds in it
    "extensions/sd-webui-animatediff/model": "motion-module",
    "custom_nodes/ComfyUI-AnimateDiff-Evolved/models": "motion-module",
    "custom_nodes/ComfyUI-AnimateDiff-Evolved/motion_lora": "motion-lora",
}
#: kinds that other programs keep in the folder of another one
KEPT_WITH: Mapping[Kind, Kind] = {"motion-lora": "lora", "domain-adapter": "lora", "sparsectrl": "controlnet"}

#: what tells the folder of one model from a folder of many
MODEL_CONFIGS = ("model_index.json", "config.json")
#: endings of what a download puts beside weights: receipts, parts, and files on their way
BESIDE = (".json", ".part", ".part.jsonl", ".new")


@dataclass(frozen=True, slots=True)
class Found:
    """Weights on a shelf. `kind` is what the folder says; None where it says nothing."""

    path: Path
    kind: Kind | None

    @property
    def name(self) -> str:
        """What it goes by: a file's name without its suffix, a model folder's name."""
        return self.path.stem if self.path.suffix.lower() in WEIGHT_SUFFIXES else self.path.name

    def may_be(self, kind: Kind) -> bool:
        """True if nothing about where it lies speaks against this kind."""
        return self.kind in (None, kind, KEPT_WITH.get(kind))


@dataclass(frozen=True)
class ModelDir:
    """One folder of weights and all that lies in it, looked through once."""

    root: Path
    is_own: bool = False

    @cached_property
    def found(self) -> tuple[Found, ...]:
        """Everything on this shelf, by path; nothing where the folder is not there or may not be read."""
        each = {item.path: item for folder, kind in self._places() for item in _walk(folder, kind)}
        return tuple(item for _, item in sorted(each.items()))

    def named(self, name: str, kind: Kind | None = None) -> list[Found]:
        """List what goes by a name, letter case aside, and may be of a kind."""
        wanted = name.lower()
        return [f for f in self.found if f.name.lower() == wanted and (kind is None or f.may_be(kind))]

    def _places(self) -> Iterator[tuple[Path, Kind | None]]:
        """List the folders to look into, and what kind each says it holds."""
        own_kind = None if self.is_own else KIND_FOLDERS.get(self.root.name.lower())
        if own_kind:
            yield self.root, own_kind
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
    """List our own models folder, then those of other programs in the order they were named."""
    own = paths.models_dir()
    others = (ModelDir(folder) for folder in paths.extra_models_dirs() if folder != own)
    return (ModelDir(own, is_own=True), *others)


def is_beside(name: str) -> bool:
    """True for the name of what a download puts beside weights, and of hidden files."""
    return name.startswith(".") or name.endswith(BESIDE)


def is_model_folder(folder: Path) -> bool:
    """Tell the folder of one model, in diffusers' layout, from a folder of many."""
    # unlike Path.is_file, this one never raises for a folder that may not be read
    return any(os.path.isfile(folder / config) for config in MODEL_CONFIGS)  # noqa: PTH113


def _walk(folder: Path, kind: Kind | None) -> Iterator[Found]:
    """Look through a folder of a kind with all below it; where no kind is known, at the folder itself alone."""
    seen: set[str] = set()
    for at, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        for name in files:
            if name.lower().endswith(WEIGHT_SUFFIXES) and not is_beside(name):
                yield Found(Path(at, name), kind)
        if kind is None:
            folders.clear()
            continue
        models = [name for name in folders if not is_beside(name) and is_model_folder(Path(at, name))]
        yield from (Found(Path(at, name), kind) for name in models)
        folders[:] = [name for name in folders if not is_beside(name) and name not in models]


def _subfolders(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            return sorted(Path(entry) for entry in entries if entry.is_dir())
    except OSError:  # not there, or not readable: `animdiff doctor` says so
        return []
