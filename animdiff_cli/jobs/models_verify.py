"""Verify models: hash local weights and compare with the catalog or the recorded hash. Uses no network."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from animdiff_cli.core.events import Checking, Emit, Note, ignore
from animdiff_cli.fetch.local import LOCAL_SOURCE, make_download_record, read_download_record, write_download_record
from animdiff_cli.fetch.remote import Digest, digest_of
from animdiff_cli.files.os_errors import readable_failures
from animdiff_cli.jobs.models import ModelInfo, find_model, list_models, require_path

#: hash matches · hash differs · no hash was known, now recorded · no hash known, and not recorded
Verdict = Literal["ok", "differs", "recorded", "unknown"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The result for one model. `failed_file` is the first file of a folder that differs or is missing."""

    name: str
    path: Path
    verdict: Verdict
    sha256: str | None  # None for a folder
    expected: str | None
    failed_file: str | None = None
    is_own: bool = False  # in animdiff's models folder, where it can be removed and downloaded again

    def record(self) -> dict[str, str | None]:
        """Return the result as JSON values."""
        return {
            "name": self.name,
            "path": str(self.path),
            "verdict": self.verdict,
            "sha256": self.sha256,
            "expected": self.expected,
            "file": self.failed_file,
        }


def verify(names: Sequence[str] = (), emit: Emit = ignore) -> Iterator[VerifyResult]:
    """Hash the named models, or all local models except bundled ones, and yield each result.

    A file in animdiff's models folder without a known hash is trusted on first use: its hash is recorded. Raises
    NotFound for a model that is not on this machine.
    """
    named = [find_model(name) for name in names]
    models = named or [model for model in list_models(emit=emit) if model.where != "bundled"]
    for model, path in [(model, require_path(model)) for model in models]:
        emit(Checking(model.name, model.bytes or 0))
        with readable_failures("verify", path, hint=f"remove it: `rm {path}`"):
            result = _verify_folder(model, path) if path.is_dir() else _verify_file(model, path)
        if result.verdict == "recorded":
            emit(Note(f"`{model.name}` had no recorded hash: trusted on first use, hash recorded"))
        yield result


def _verify_file(model: ModelInfo, path: Path) -> VerifyResult:
    expected = _expected_sha256(model, path)
    digest = digest_of(path)
    if expected is not None:
        verdict: Verdict = "ok" if digest.sha256 == expected else "differs"
    else:
        verdict = _record(model, path, {path.name: digest})
    return VerifyResult(model.name, path, verdict, digest.sha256, expected, is_own=model.where == "store")


def _verify_folder(model: ModelInfo, path: Path) -> VerifyResult:
    download_record = read_download_record(path)
    failed = None
    if download_record is None or not download_record.files:
        verdict: Verdict = _record(model, path, _digests(path)) if model.where == "store" else "unknown"
    else:
        failed = next((name for name, facts in download_record.files.items() if not _is_same(path / name, facts)), None)
        verdict = "ok" if failed is None else "differs"
    return VerifyResult(model.name, path, verdict, None, None, failed, is_own=model.where == "store")


def _expected_sha256(model: ModelInfo, path: Path) -> str | None:
    """Return the known hash of a file: from the catalog, the blob name in the Hub cache, or the recorded download."""
    if model.entry and model.entry.sha256:
        return model.entry.sha256
    blob = Path(os.path.realpath(path)).name
    if model.where == "hub-cache" and _SHA256.fullmatch(blob):
        return blob
    download_record = read_download_record(path)
    return download_record.sha256 if download_record else None


def _record(model: ModelInfo, path: Path, digests: Mapping[str, Digest]) -> Verdict:
    if model.where != "store" or not digests:
        return "unknown"
    write_download_record(path, make_download_record(LOCAL_SOURCE, digests, revision=None, is_folder=path.is_dir()))
    return "recorded"


def _digests(folder: Path) -> dict[str, Digest]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digest_of(path) for path in files}


def _is_same(path: Path, facts: Mapping[str, object]) -> bool:
    return path.is_file() and digest_of(path).sha256 == facts.get("sha256")
