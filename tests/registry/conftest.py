"""A person's folders: their models, their own catalog, and those of other programs."""

import os

import pytest


@pytest.fixture
def person(tmp_path, monkeypatch):
    """Empty folders of one's own; returns the folder that all are in."""
    for name, folder in {"MODELS": "models", "CONFIG": "config", "CACHE": "cache"}.items():
        monkeypatch.setenv(f"ANIMDIFF_{name}", str(tmp_path / folder))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("ANIMDIFF_EXTRA_MODELS", raising=False)
    return tmp_path


@pytest.fixture
def put(person):
    """Put a file below the person's folder, weights unless told otherwise; returns its path."""

    def write(name, content=b"weights"):
        path = person / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def use(person, monkeypatch):
    """Name folders of other programs, in this order."""

    def name(*folders):
        monkeypatch.setenv("ANIMDIFF_EXTRA_MODELS", os.pathsep.join(str(person / folder) for folder in folders))

    return name
