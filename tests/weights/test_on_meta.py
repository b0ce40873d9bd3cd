"""Networks that are built for their shapes alone."""

import torch
from torch import nn

from animdiff_cli.weights import completeness
from animdiff_cli.weights.completeness import expected_shapes, network_to_load
from animdiff_cli.weights.on_meta import on_meta


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 6), nn.Conv2d(6, 2, 3), nn.GroupNorm(1, 2))
        self.weight = nn.init.normal_(nn.Parameter(torch.empty(3)))
        self.register_buffer("positions", torch.arange(5).expand(1, -1))
        self.register_buffer("here", torch.arange(0, 6, 2, device="cpu"))


def kinds(state):
    return {key: (tensor.shape, tensor.dtype) for key, tensor in state.items()}


def test_shapes_and_types_are_those_of_the_network_and_nothing_is_allocated():
    with on_meta():
        built = Network().state_dict()
    usual = Network().state_dict()
    assert {key: (t.shape, t.dtype) for key, t in built.items()} == {
        key: (t.shape, t.dtype) for key, t in usual.items()
    }
    assert {key for key, t in built.items() if t.device.type != "meta"} == {"here"}
    assert built["here"].tolist() == [0, 2, 4]


def test_weights_are_initialized_after_it():
    with on_meta():
        pass
    assert nn.Linear(4, 4).weight.std() > 0


def test_a_network_that_was_built_for_its_shapes_is_loaded_once(monkeypatch):
    built = []
    monkeypatch.setattr(completeness, "build_on_meta", lambda part, config: built.append(config) or nn.Linear(3, 2))
    config = {"only": "of this test"}
    assert expected_shapes("unet", config) == {"weight": (2, 3), "bias": (2,)}
    first, second = network_to_load("unet", config), network_to_load("unet", config)
    assert first is not second and built == [config] * 2
    assert expected_shapes("unet", config) == {"weight": (2, 3), "bias": (2,)} and len(built) == 2
