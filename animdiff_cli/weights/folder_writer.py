"""Folders that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from animdiff_cli.errors import UsageError


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a hidden neighbour to fill, which takes `path`'s place at the end; on failure `path` is as it was."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    aside = path.with_name(f".{path.name}.{os.getpid()}.replaced")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        if path.exists():
            path.rename(aside)
        partial.rename(path)
    except OSError as error:
        if aside.exists() and not path.exists():
            aside.rename(path)
        raise UsageError(
            f"cannot write {path}: {error.strerror or error}", hint="choose another place with `-o`"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
