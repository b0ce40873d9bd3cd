"""A torchvision that is hidden while it cannot be imported."""

import importlib.util
import sys

import pytest

from animdiff_cli.core.stand_ins import hide_broken_torchvision, hide_torchvision, show_torchvision


@pytest.fixture
def torchvision(tmp_path, monkeypatch):
    """Write the code of a torchvision, in a program that has imported neither it nor transformers."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("torchvision", "transformers"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield (tmp_path / "torchvision.py").write_text
    sys.modules.pop("torchvision", None)


def test_only_one_that_cannot_be_imported_is_hidden(torchvision):
    torchvision("raise RuntimeError('operator torchvision::nms does not exist')")
    hide_broken_torchvision()
    assert importlib.util.find_spec("torchvision") is None
    show_torchvision()
    assert importlib.util.find_spec("torchvision") is not None
    torchvision("works = True")
    hide_broken_torchvision()
    assert sys.modules["torchvision"].works


def test_one_that_is_imported_already_stays(torchvision):
    torchvision("works = True")
    import torchvision as imported

    hide_torchvision()
    show_torchvision()
    assert sys.modules["torchvision"] is imported
