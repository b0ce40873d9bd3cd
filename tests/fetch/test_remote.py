"""Paths in repositories stay inside the model folder."""

import pytest

from animdiff_cli.errors import IntegrityError
from animdiff_cli.fetch.remote import require_relative


@pytest.mark.parametrize("path", ["../x", "unet/../../x", "/etc/passwd", "a\\b", "C:/x", "", "./x"])
def test_refuses_repository_paths_that_point_outside(path):
    with pytest.raises(IntegrityError, match="refused"):
        require_relative(path)


def test_keeps_folders_of_repository_paths():
    assert require_relative("unet/config.json") == "unet/config.json"
