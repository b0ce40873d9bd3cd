"""Load tensors into memory: values, dtype and alignment."""

import pytest
import torch
from safetensors.torch import save_file

from animdiff_cli.errors import IntegrityError
from animdiff_cli.weights.files import open_weights
from animdiff_cli.weights.lazy import concat_rows
from animdiff_cli.weights.lora import LoraWeights
from animdiff_cli.weights.lora_merge import merge_loras
from animdiff_cli.weights.materialize import STAGED, materialize

#: one number, none at all, counts, flags, and more numbers than are read at once
TENSORS = {
    "number": torch.tensor(3.5),
    "nothing": torch.empty(0, 3),
    "counts": torch.arange(5),
    "flags": torch.tensor([True, False]),
    "half": torch.linspace(-9, 9, 2 * STAGED + 7).half(),
    "brain": torch.linspace(-9, 9, 21).bfloat16(),
    "eighth": torch.linspace(-9, 9, 21).to(torch.float8_e4m3fn),
    "single": torch.linspace(-9, 9, STAGED + 8).reshape(2, -1),
}


@pytest.fixture
def path(tmp_path):
    save_file(TENSORS, tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_tensor_equals_the_cast_of_torch(path, dtype):
    weights = materialize(open_weights(path).tensors, dtype)
    assert weights.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        expected = tensor.to(dtype) if tensor.is_floating_point() else tensor
        assert weights[name].dtype == expected.dtype
        assert torch.equal(weights[name], expected)
        assert weights[name].data_ptr() % 64 == 0


def test_sliced_transposed_reshaped_and_concatenated_tensors_equal_those_in_memory(path):
    single = open_weights(path).tensors["single"]
    lazy = {
        "cut": single.slice(1, 2),
        "turned": single.transposed(),
        "viewed": single.reshape(2, 2, single.shape[1] // 2).slice(1, 2),
        "stacked": concat_rows([single, single.slice(0, 1)]),
    }
    whole = TENSORS["single"]
    expected = {
        "cut": whole[1:],
        "turned": whole.T,
        "viewed": whole.reshape(2, 2, -1)[1:],
        "stacked": torch.cat([whole, whole[:1]]),
    }
    weights = materialize(lazy, torch.bfloat16)
    assert all(torch.equal(weights[name], tensor.bfloat16()) for name, tensor in expected.items())


def test_a_merged_weight_differs_from_the_weight_in_the_file(path, tmp_path):
    save_file({"m.weight": torch.ones(4, 4)}, tmp_path / "base.safetensors")
    save_file({"down": torch.ones(2, 4), "up": torch.ones(4, 2)}, tmp_path / "lora.safetensors")
    lora = LoraWeights("lora", {"m": open_weights(tmp_path / "lora.safetensors").tensors}, {}, 1.0)
    merged = merge_loras(open_weights(tmp_path / "base.safetensors").tensors, [lora])
    assert torch.equal(materialize(merged, torch.float32)["m.weight"], torch.full((4, 4), 3.0))


def test_a_file_truncated_after_opening_is_not_loaded(path):
    tensors = open_weights(path).tensors
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    with pytest.raises(IntegrityError, match="changed while it was read"):
        materialize(tensors, torch.float32)
