"""Checkpoints of a run: one file each, written atomically; only the newest few are kept."""

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
#: settings that the digest of the clips covers; recorded to describe a difference, not compared
CLIP_SETTINGS = "clip settings"


@dataclass(frozen=True, slots=True)
class RunFingerprint:
    """Every setting and input that decides the result of a training step. Runs resume only with an equal one."""

    values: Mapping[str, object]

    def differences(self, recorded: Mapping[str, object]) -> list[str]:
        """Return one line for each value that differs from `recorded`: `shot: pan-right → pan-left`."""
        current = _json_value(self.values)
        keys = sorted((current.keys() | recorded.keys()) - {CLIP_SETTINGS})
        differing = [key for key in keys if current.get(key) != recorded.get(key)]
        return [line for key in differing for line in _describe(key, recorded, current)]


def _describe(key: str, recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    if key == "clips":
        # settings of clips, which older checkpoints do not record, explain a different digest
        before, now = recorded.get(CLIP_SETTINGS) or {}, current.get(CLIP_SETTINGS) or {}
        settings = [name for name in now if name in before and before[name] != now[name]]
        return [f"{name}: {_text(before[name])} → {_text(now[name])}" for name in settings] or [
            "the videos or their captions have changed"
        ]
    before, now = recorded.get(key), current.get(key)
    if isinstance(before, list) and isinstance(now, list):  # an adapter and its scale
        (before, *scale), (now, *other) = before, now
        if before == now:
            return [f"scale of {key}: {_text(scale)} → {_text(other)}"]
    if isinstance(before, dict) and isinstance(now, dict):  # hashes of files
        return [f"{key}: the weights have changed"]
    return [f"{key}: {_text(before)} → {_text(now)}"]


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(value)
    if isinstance(value, list):
        return "-".join(map(_text, value))
    return "none" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The folder of a run's checkpoints."""

    folder: Path
    keep: int

    def save(self, step: int, fingerprint: RunFingerprint, state: Mapping[str, Any]) -> Path:
        """Write the state after `step` steps and sync it to disk, then remove all but the newest `keep` checkpoints.

        A process killed at any time leaves every earlier checkpoint complete, and this one complete or absent.
        """
        path = self.folder / f"step-{step:08d}.pt"
        with readable_output_failures(path, "-o"):
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(path, sync=True) as hidden:
                torch.save({"step": step, "identity": _json_value(fingerprint.values), **state}, hidden)
        for _, old in self.saved()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def saved(self) -> list[tuple[int, Path]]:
        """Return (step, path) of each checkpoint, oldest first. Incomplete files have other names."""
        paths = self.folder.glob("step-*.pt") if self.folder.is_dir() else ()
        return sorted((int(match[1]), path) for path in paths if (match := _NAME.fullmatch(path.name)))

    def load_newest(self, fingerprint: RunFingerprint, report: Callable[[str], None]) -> Mapping[str, Any] | None:
        """Load the newest readable checkpoint; None if there is none.

        Reports unreadable checkpoints and skips them. Raises `UsageError` if the folder contains another run.
        """
        for _, path in reversed(self.saved()):
            try:
                state: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
                report(f"cannot read {path} ({str(error).splitlines()[0]}): using the checkpoint before it")
                continue
            if differences := fingerprint.differences(state["identity"]):
                raise UsageError(
                    f"{self.folder.parent} contains a run with other settings: {'; '.join(differences[:3])}",
                    hint="choose another folder with `-o`, or start over with `--overwrite`",
                )
            return state
        return None

    def clear(self) -> None:
        """Remove every checkpoint."""
        for _, path in self.saved():
            path.unlink()


def clips_digest(keys: list[str]) -> str:
    """Hash the keys of a data set's clips, in order."""
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]


def _json_value(value: object) -> Any:
    """Convert `value` to JSON types, so that saved and loaded values compare equal."""
    return json.loads(json.dumps(value, default=str))
