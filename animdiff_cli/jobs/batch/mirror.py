"""The manifest of a batch whose outputs are on a storage system: a local file, copied there as the batch goes on.

A storage system cannot append to a file, and has no locks. Both are in a folder on this machine, so several machines
that render one batch need `--shard`: then each has a manifest of its own.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.core.naming import slug
from animdiff_cli.files.atomic import atomic_write
from animdiff_cli.files.os_errors import readable_output_failures
from animdiff_cli.storage.location import RemotePath
from animdiff_cli.storage.objects import Stored, download, list_files, upload

#: seconds between two uploads; a killed process loses no more of the copy, and nothing of the local file
INTERVAL_S = 5.0
PATTERN = "manifest*.jsonl"


def state_folder(folder: RemotePath) -> Path:
    """Return the local folder for manifests and locks of the batches that are written to a folder."""
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:10]
    return paths.cache_dir() / "batches" / f"{slug(folder.name)}-{digest}"


class Listing:
    """The files of a folder on a storage system at one moment."""

    def __init__(self, files: Mapping[str, Stored]) -> None:
        self.files = files
        self._in_folder: dict[str, dict[str, Stored]] = {}
        for name, stored in files.items():
            self._in_folder.setdefault(name.rpartition("/")[0], {})[name] = stored

    def below(self, name: str) -> Mapping[str, Stored]:
        """Return the file `name`, or the files in the folder `name`; empty if there is neither."""
        return {name: self.files[name]} if name in self.files else self._in_folder.get(name, {})


@dataclass(slots=True)
class Mirror:
    """Copies manifests between a storage system and the local folder `state`. `own` is the one this run appends to."""

    folder: RemotePath
    state: Path
    own: str
    listing: Listing | None = None  # of `folder` when the run began
    _uploaded_s: float = 0.0  # monotonic
    _uploaded_bytes: int = -1

    def pull(self) -> None:
        """List the storage system, and download the manifests that are longer there, as another machine left them.

        Raises `AnimdiffError`.
        """
        self.listing = Listing(list_files(self.folder))
        for name, stored in self.listing.files.items():
            path = self.state / name
            if not fnmatchcase(name, PATTERN) or (stored.size or 0) <= _size(path):
                continue
            with readable_output_failures(path):
                self.state.mkdir(parents=True, exist_ok=True)
                with atomic_write(path) as hidden:
                    download(self.folder / name, hidden)

    def push(self, *, at_once: bool = False) -> None:
        """Upload the own manifest if it has grown; unless `at_once`, not more often than every `INTERVAL_S`.

        Raises `AnimdiffError`.
        """
        path = self.state / self.own
        is_due = at_once or time.monotonic() - self._uploaded_s > INTERVAL_S
        if not is_due or (size := _size(path)) in (0, self._uploaded_bytes):
            return
        upload(path, self.folder / self.own, replace=True)
        self._uploaded_s, self._uploaded_bytes = time.monotonic(), size


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
