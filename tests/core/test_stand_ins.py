"""Modules that stand in for others while a library is imported."""

import importlib.util
import sys

import pytest

from animdiff_cli.core.stand_ins import module_with, standing_in


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A module that can be imported, and is not yet."""
    (tmp_path / "library_of_a_test.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "library_of_a_test"
    sys.modules.pop("library_of_a_test", None)


def test_a_module_stands_in_only_inside_the_context(library):
    with standing_in({library: module_with(library, answer=1)}):
        assert importlib.import_module(library).answer == 1
    assert importlib.import_module(library).answer == 42
    with standing_in({library: module_with(library, answer=1)}):
        assert importlib.import_module(library).answer == 42  # it is imported already


def test_a_module_that_is_hidden_is_not_found(library):
    with standing_in({library: None}):
        assert importlib.util.find_spec(library) is None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(library)
    assert importlib.import_module(library).answer == 42
