"""A user's folders: models, catalog, cache, and model directories of other programs."""

import os

import pytest


@pytest.fixture
def user_dir(tmp_path, monkeypatch):
    """Use empty models, config and cache folders; returns their parent folder."""
    for name, folder in {"MODELS": "models", "CONFIG": "config", "CACHE": "cache"}.items():
        monkeypatch.setenv(f"ANIMDIFF_{name}", str(tmp_path / folder))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("ANIMDIFF_EXTRA_MODELS", raising=False)
    return tmp_path


@pytest.fixture
def write_file(user_dir):
    """Return a function that writes a file below `user_dir` and returns its path."""

    def write(name, content=b"weights"):
        path = user_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def use_dirs(user_dir, monkeypatch):
    """Return a function that sets the model directories of other programs, in this order."""

    def name(*folders):
        monkeypatch.setenv("ANIMDIFF_EXTRA_MODELS", os.pathsep.join(str(user_dir / folder) for folder in folders))

    return name
