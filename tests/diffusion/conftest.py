"""Networks in float64 and float32, each loaded once."""

from functools import cache

import pytest
import torch

from tests.diffusion.exact import exact


@pytest.fixture(scope="session")
def models(toy_model, toy_sdxl_model):
    """A function that returns the parts of `toy_model` or `toy_sdxl_model` in a dtype.

    A test that plugs a motion module in takes it out again.
    """
    folders = {"sd15": toy_model, "sdxl": toy_sdxl_model}
    return cache(lambda base, dtype=torch.float64: exact(folders[base], dtype))


@pytest.fixture(scope="session")
def exact_model(models):
    return models("sd15")


@pytest.fixture(scope="session")
def exact_sdxl(models):
    return models("sdxl")
