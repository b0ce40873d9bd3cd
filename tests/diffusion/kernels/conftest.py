import pytest
import torch


@pytest.fixture
def inference():
    """Record no gradients, as in a render. Numbers are drawn from one seed."""
    torch.manual_seed(0)
    with torch.no_grad():
        yield
