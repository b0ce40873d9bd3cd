"""Checkpoints of a run: one file each, whole or not there, the newest few kept."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from animdiff_cli.errors import UsageError
from animdiff_cli.files.atomic import atomic_write
from animdiff_cli.files.os_errors import readable_output_failures

_NAME = re.compile(r"step-(\d{8})\.pt")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a run is: every setting and input that decides what its steps compute."""

    values: Mapping[str, object]

    def differing(self, recorded: Mapping[str, object]) -> list[str]:
        """Name what is not as it was recorded, with both values."""
        keys = sorted(self.values.keys() | recorded.keys())
        return [
            f"{key} was `{recorded.get(key)}`, now `{self.values.get(key)}`"
            for key in keys
            if _plain(self.values.get(key)) != recorded.get(key)
        ]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The folder of a run's checkpoints."""

    folder: Path
    keep: int

    def save(self, step: int, identity: Identity, state: Mapping[str, Any]) -> Path:
        """Write the state after `step` steps, synced and renamed, then remove what is older than the newest `keep`.

        A process killed at any moment leaves every earlier checkpoint whole, and this one whole or absent.
        """
        path = self.folder / f"step-{step:08d}.pt"
        with readable_output_failures(path, "-o"):
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(path, sync=True) as hidden:
                torch.save({"step": step, "identity": _plain(identity.values), **state}, hidden)
        for _, old in self.listed()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def listed(self) -> list[tuple[int, Path]]:
        """List checkpoints with their steps, oldest first. Files cut short by a kill have other names."""
        paths = self.folder.glob("step-*.pt") if self.folder.is_dir() else ()
        return sorted((int(match[1]), path) for path in paths if (match := _NAME.fullmatch(path.name)))

    def newest(self, identity: Identity, report: Callable[[str], None]) -> Mapping[str, Any] | None:
        """Load the newest checkpoint that can be read; None if there is none.

        Passes unreadable checkpoints to `report` and skips them. Raises `UsageError` if the folder holds another run.
        """
        for _, path in reversed(self.listed()):
            try:
                state: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
                report(f"{path} cannot be read ({str(error).splitlines()[0]}): going on from the one before")
                continue
            if differing := identity.differing(state["identity"]):
                raise UsageError(
                    f"{self.folder.parent} holds a run with other settings: {'; '.join(differing[:3])}",
                    hint="name another folder with `-o`, or begin anew with `--overwrite`",
                )
            return state
        return None

    def clear(self) -> None:
        """Remove every checkpoint."""
        for _, path in self.listed():
            path.unlink()


def clips_digest(keys: list[str]) -> str:
    """Digest which clips a run learns from, in order."""
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]


def _plain(value: object) -> Any:
    """Return `value` as JSON keeps it, so that what was loaded compares equal to what was saved."""
    return json.loads(json.dumps(value, default=str))
