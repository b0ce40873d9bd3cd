"""Read valid safetensors headers, and refuse invalid ones before any tensor is read."""

import json
import math
import struct
import time

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from animdiff_cli.errors import AnimdiffError, IntegrityError
from animdiff_cli.jobs.convert import plan_conversion
from animdiff_cli.motion import load_motion_module
from animdiff_cli.weights.completeness import check_part
from animdiff_cli.weights.files import open_weights
from animdiff_cli.weights.header import read_header
from animdiff_cli.weights.identify import identify
from animdiff_cli.weights.lazy import LazyTensor


def write(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(start, stop, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def test_the_header_agrees_with_the_safetensors_library(tmp_path):
    tensors = {"a": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16), "c": torch.tensor(7)}
    save_file(tensors, tmp_path / "x.safetensors", {"made": "here"})
    header = read_header(tmp_path / "x.safetensors")
    assert header.metadata == {"made": "here"}
    assert {key: spec.shape for key, spec in header.tensors.items()} == {"a": (2, 3), "b": (4,), "c": ()}
    opened = open_weights(tmp_path / "x.safetensors").tensors
    assert all(torch.equal(opened[key].read(), tensors[key]) for key in tensors)


@pytest.mark.parametrize(
    ("header", "data", "why"),
    [
        ({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, 12, "overlaps"),
        ({"a": entry(0, 8, [2]), "b": entry(0, 8, [2])}, 8, "overlaps"),
        ({"a": entry(0, 4, [1]), "b": entry(8, 12, [1])}, 12, "gap"),
        ({"a": entry(0, 8, [2])}, 4, "end at byte"),
        ({"a": entry(0, 8, [2])}, 9, "end at byte"),
        ({"a": entry(0, 8, [3])}, 8, "do not match its shape"),
        ({"a": entry(0, 4, [1 << 62, 1 << 62])}, 4, "do not match its shape"),
        ({"a": entry(0, 4, [-1])}, 4, "invalid"),
        ({"a": entry(0, 4, [True])}, 4, "invalid"),
        ({"a": entry(4, 0, [1])}, 4, "do not match its shape"),
        ({"a": entry(0, 4, [1], "F7")}, 4, "unknown dtype"),
        ({"a": {"dtype": "F32", "shape": [1]}}, 4, "does not have the fields"),
        ({"a": 5}, 0, "does not have the fields"),
        ({"__metadata__": {"a": 1}}, 0, "metadata"),
        (b'{"a":1,"a":2}', 0, "appears twice"),
        (b"[1]", 0, "not a JSON object"),
        (b"\xff{", 0, "not JSON"),
        (rb'{"__metadata__":{"a":"\ud800"}}', 0, "not JSON"),
        (b"[" * 100_000, 0, "not JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", 0, "not JSON"),
    ],
)
def test_an_invalid_header_is_refused(tmp_path, header, data, why):
    with pytest.raises(IntegrityError, match=why):
        read_header(write(tmp_path / "x.safetensors", header, bytes(data)))


@pytest.mark.parametrize("content", [b"", b"abc", struct.pack("<Q", 1 << 60), struct.pack("<Q", 50) + b"{}"])
def test_a_file_shorter_than_its_header_claims_is_refused(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(IntegrityError, match="claims"):
        read_header(tmp_path / "x.safetensors")


def test_a_header_above_the_size_limit_is_not_read(tmp_path):
    path = tmp_path / "bomb.safetensors"
    with path.open("wb") as file:  # sparse: no disk is used
        file.write(struct.pack("<Q", 200_000_000))
        file.truncate(300_000_000)
    with pytest.raises(IntegrityError, match="above the limit"):
        read_header(path)


def test_forty_gigabytes_are_identified_in_under_a_second_of_cpu_time(tmp_path):
    size = 40 * 1024 * 320 * 320 * 1280
    shape = [size // 4 // 320, 320]
    key = "down_blocks.0.motion_modules.0.temporal_transformer.proj_in.weight"
    path = write(tmp_path / "huge.safetensors", {key: entry(0, shape[0] * shape[1] * 4, shape)})
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + shape[0] * shape[1] * 4)
    began = time.process_time()  # the time of the clock depends on what else the machine does
    assert identify(path).kind == "motion-module"
    assert time.process_time() - began < 1


SITE = "down_blocks.0.motion_modules.0.temporal_transformer"
K = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k."
F16 = {"F16": 2, "I64": 8, "F32": 4, "U8": 1}


def named(path, shapes, dtype="F16", metadata=None):
    """Write a file of zeros with these names and shapes."""
    header, end = ({"__metadata__": metadata} if metadata else {}), 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * F16[dtype]
        header[name] = entry(start, end, list(shape), dtype)
    return write(path, header, bytes(end))


@pytest.mark.parametrize(
    "shapes",
    [
        {"down_blocks.99999999999.motion_modules.0.temporal_transformer.norm.weight": (8,)},
        {"down_blocks." + "9" * 5000 + ".motion_modules.0.temporal_transformer.norm.weight": (8,)},
        {"down_blocks.0.motion_modules.9999.temporal_transformer.norm.weight": (8,)},
        {f"{SITE}.norm.weight": (8,), f"{SITE}.transformer_blocks.0.attention_blocks.0.pos_encoder.pe": (8,)},
        {f"{SITE}.norm.weight": ()},
        {f"{SITE}.norm.weight": (0,)},
        {f"{SITE}.norm.weight": (7,)},
        {f"{SITE}.norm.weight": (7, 3, 1)},
        {f"{SITE.replace('blocks.0', 'blocks.x')}.norm.weight": (8,)},
        {f"{SITE}.norm.\ud800": (8,), f"{SITE}.norm.weight": (8,)},
        {K + "lora_down.weight": (4, 768), K + "lora_up.weight": (8, 4), K + "alpha": (2,)},
        {K + "lora_down.weight": (4,), K + "lora_up.weight": (8,)},
        {K + "lora_down.weight": (0, 768), K + "lora_up.weight": (8, 0)},
        {K + "lokr_w1": (), K + "lokr_w2": ()},
        {K + "hada_w1_a": (2,), K + "hada_w1_b": (2,), K + "hada_w2_a": (2,), K + "hada_w2_b": (2,)},
        {"emb_params": (0, 768)},
        {"clip_g": (1,), "clip_l": ()},
        {"controlnet_cond_embedding.weight": (), f"{SITE}.norm.weight": (8,)},
        {"model.diffusion_model.input_blocks.0.0.weight": ()},
        {"unet.conv_in.weight": (1,), "vae.decoder.conv_in.weight": (1,)},
        {"decoder.up_blocks.0.resnets.0.conv1.weight": ()},
    ],
)
@pytest.mark.parametrize("dtype", ["F16", "I64"])
def test_odd_names_widths_and_dtypes_end_in_a_sentence(tmp_path, shapes, dtype):
    path = named(tmp_path / "x.safetensors", shapes, dtype)
    for use in (
        identify,
        load_motion_module,
        lambda path: plan_conversion(str(path), output=tmp_path / "o.safetensors"),
    ):
        try:
            use(path)
        except AnimdiffError as error:
            assert error.exit_code in (2, 5)


@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": [1]},
        {"layers_per_block": 10**9},
        {"layers_per_block": [10**9]},
        {"block_out_channels": [8] * 10**5},
        {"down_block_types": ["DownBlock2D"] * 10**5},
        {"transformer_layers_per_block": [[10**9]]},
        {"hidden_size": 10**18},
        {"hidden_size": "x"},
    ],
)
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_the_numbers_of_a_config_are_bounded_by_the_weights(part, config):
    tensors = {f"w{number}": LazyTensor("F32", (1,), None) for number in range(20)}
    with pytest.raises(IntegrityError):
        check_part(part, tensors, config, "x")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_header_is_refused_or_agrees_with_the_safetensors_library(tmp_path, data):
    source = tmp_path / "source.safetensors"
    if not source.exists():
        save_file({"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16)}, source, {"k": "v"})
    content = bytearray(source.read_bytes())
    header_end = 8 + struct.unpack("<Q", content[:8])[0]
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, header_end - 1))
        match data.draw(st.sampled_from(["set", "cut", "insert", "truncate"])):
            case "set":
                content[place] = data.draw(st.integers(0, 255))
            case "cut":
                del content[place]
            case "insert":
                content.insert(place, data.draw(st.sampled_from(list(b'0123456789[]{},:"-eE\x00'))))
            case "truncate":
                del content[data.draw(st.integers(place, len(content))) :]
        if len(content) < header_end:
            break
    path = tmp_path / "mutant.safetensors"
    path.write_bytes(content)
    try:
        header = read_header(path)
    except IntegrityError:
        return
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == header.tensors.keys()
        for key, spec in header.tensors.items():
            assert tuple(file.get_slice(key).get_shape()) == spec.shape


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 0.999), byte=st.integers(0, 255), cut=st.booleans(), legacy=st.booleans())
def test_a_damaged_pickle_never_ends_in_a_traceback(tmp_path, place, byte, cut, legacy):
    source = tmp_path / f"source{legacy}.ckpt"
    if not source.exists():
        key = "down_blocks.0.motion_modules.0.temporal_transformer.proj_in.weight"
        torch.save({"state_dict": {key: torch.ones(4, 4)}}, source, _use_new_zipfile_serialization=not legacy)
    content = bytearray(source.read_bytes())
    position = int(place * len(content))
    if cut:
        del content[position:]
    else:
        content[position] = byte
    path = tmp_path / "damaged.ckpt"
    path.write_bytes(content)
    try:
        identify(path)
    except AnimdiffError as error:
        assert error.exit_code == 5
