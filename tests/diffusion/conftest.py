"""Networks in float64, loaded once."""

import pytest

from tests.diffusion.exact import exact


@pytest.fixture(scope="session")
def exact_model(toy_model):
    """The parts of `toy_model`. A test that plugs a motion module in takes it out again."""
    return exact(toy_model)


@pytest.fixture(scope="session")
def exact_sdxl(toy_sdxl_model):
    """The parts of `toy_sdxl_model`."""
    return exact(toy_sdxl_model)
