"""Write safetensors files in chunks: content and memory use."""

import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.weights.files import open_weights
from animdiff_cli.weights.lazy import LazyTensor, concat_rows, wrap_tensor
from animdiff_cli.weights.stream import write_safetensors

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn]
SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(min_size=1, max_size=9), st.tuples(SHAPES, st.sampled_from(DTYPES)), max_size=5))
def test_tensors_round_trip_bit_for_bit(tmp_path, described):
    described.pop("__metadata__", None)
    tensors = {key: torch.randint(0, 2, shape).to(dtype) for key, (shape, dtype) in described.items()}
    path = tmp_path / "x.safetensors"
    assert write_safetensors({key: wrap_tensor(tensor) for key, tensor in tensors.items()}, path, {"ä": "ö"}) == ()
    read = load_file(path)
    assert read.keys() == tensors.keys()
    assert all(read[key].dtype == t.dtype and torch.equal(read[key].float(), t.float()) for key, t in tensors.items())
    assert open_weights(path).metadata == {"ä": "ö"}


def test_rows_of_concatenated_sliced_and_transposed_tensors(numbers):
    parts = [numbers(3, 4), numbers(2, 4)]
    pile, whole = concat_rows([wrap_tensor(part) for part in parts]), torch.cat(parts)
    assert all(torch.equal(pile.rows(a, b), whole[a:b]) for a in range(5) for b in range(a + 1, 6))
    assert torch.equal(pile.slice(1, 4).rows(1, 3), whole[2:4])
    assert torch.equal(pile.transposed().rows(1, 3), whole.T[1:3])
    assert torch.equal(pile.cast("F16").read(), whole.half())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_tensors_with_nan_or_infinity_are_named(tmp_path, value):
    tensors = {"good": wrap_tensor(torch.ones(3)), "bad": wrap_tensor(torch.tensor([1.0, value]))}
    assert write_safetensors(tensors, tmp_path / "x.safetensors", {}) == ("bad",)


def test_a_failed_write_leaves_the_old_file_and_no_temporary_file(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"old": torch.ones(1)}, path)

    def fail(start, stop):
        raise IntegrityError("the source is gone")

    with pytest.raises(IntegrityError):
        write_safetensors({"a": wrap_tensor(torch.ones(9)), "b": LazyTensor("F32", (4,), fail)}, path, {})
    assert load_file(path).keys() == {"old"}
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_an_unwritable_path_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="cannot write"):
        write_safetensors({"a": wrap_tensor(torch.ones(1))}, tmp_path / "nowhere" / "x.safetensors", {})


MEASURE = """
import resource, sys
from pathlib import Path
from animdiff_cli.weights.files import open_weights
from animdiff_cli.weights.stream import write_safetensors
def convert(source, target):
    tensors = {key: tensor.cast("F16") for key, tensor in open_weights(Path(source)).tensors.items()}
    write_safetensors(tensors, Path(target), {})
convert(sys.argv[1], sys.argv[3])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
convert(sys.argv[2], sys.argv[3])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.full
def test_memory_stays_below_the_largest_tensor(tmp_path):
    save_file({"w": torch.zeros(64, 64)}, tmp_path / "small.safetensors")
    largest = 96 << 20
    save_file({f"w{n}": torch.zeros(largest // 4096, 1024) for n in range(3)}, tmp_path / "large.safetensors")
    paths = [str(tmp_path / name) for name in ("small.safetensors", "large.safetensors", "out.safetensors")]
    run = subprocess.run([sys.executable, "-c", MEASURE, *paths], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 1.2 * largest
