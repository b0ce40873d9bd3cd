"""Hash weights again and compare: with the catalog, or with what was recorded when they came. No network is used."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from animdiff_cli.core.events import Checking, Emit, Note, ignore
from animdiff_cli.fetch.integrity import digest_of
from animdiff_cli.fetch.presence import FOUND_HERE
from animdiff_cli.fetch.receipt import make_receipt, read_receipt, write_receipt
from animdiff_cli.fetch.remote import Digest
from animdiff_cli.jobs.inventory import Model, find_model, list_models, require_path

#: as it should be; another file; nothing to compare with until now, and written down; nothing to compare with
Verdict = Literal["ok", "differs", "recorded", "unknown"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Verified:
    """What hashing one set of weights came to. `lost` is the file of a folder that differs or is gone."""

    name: str
    path: Path
    verdict: Verdict
    sha256: str | None  # None for a folder
    expected: str | None
    lost: str | None = None
    is_own: bool = False  # in our models folder, where it can be removed and fetched again


def verify(names: Sequence[str] = (), emit: Emit = ignore) -> Iterator[Verified]:
    """Hash what was named, or all that is here, bundled files aside.

    A file in our models folder that came without any record is trusted on first use, and so recorded. Raises
    NotFound for what is not here.
    """
    named = [find_model(name) for name in names]
    models = named or [model for model in list_models(emit=emit) if model.where != "bundled"]
    for model, path in [(model, require_path(model)) for model in models]:
        emit(Checking(model.name, model.bytes or 0))
        verified = _folder(model, path) if path.is_dir() else _file(model, path)
        if verified.verdict == "recorded":
            emit(Note(f"`{model.name}` came without a hash: trusted on first use, and recorded"))
        yield verified


def _file(model: Model, path: Path) -> Verified:
    expected = _expected(model, path)
    digest = digest_of(path)
    if expected is not None:
        verdict: Verdict = "ok" if digest.sha256 == expected else "differs"
    else:
        verdict = _record(model, path, {path.name: digest})
    return Verified(model.name, path, verdict, digest.sha256, expected, is_own=model.where == "store")


def _folder(model: Model, path: Path) -> Verified:
    receipt = read_receipt(path)
    if receipt is None or not receipt.files:
        verdict = _record(model, path, _digests(path)) if model.where == "store" else "unknown"
        return Verified(model.name, path, verdict, None, None, is_own=model.where == "store")
    lost = next((name for name, facts in receipt.files.items() if not _is_same(path / name, facts)), None)
    verdict = "ok" if lost is None else "differs"
    return Verified(model.name, path, verdict, None, None, lost, is_own=model.where == "store")


def _expected(model: Model, path: Path) -> str | None:
    """Find the hash a file should have; in the cache of the Hub the name of what a link leads to is one."""
    if model.entry and model.entry.sha256:
        return model.entry.sha256
    blob = Path(os.path.realpath(path)).name
    if model.where == "hub-cache" and _SHA256.fullmatch(blob):
        return blob
    receipt = read_receipt(path)
    return receipt.sha256 if receipt else None


def _record(model: Model, path: Path, digests: Mapping[str, Digest]) -> Verdict:
    if model.where != "store" or not digests:
        return "unknown"
    write_receipt(path, make_receipt(FOUND_HERE, digests, revision=None, is_folder=path.is_dir()))
    return "recorded"


def _digests(folder: Path) -> dict[str, Digest]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digest_of(path) for path in files}


def _is_same(path: Path, facts: Mapping[str, object]) -> bool:
    return path.is_file() and digest_of(path).sha256 == facts.get("sha256")
