"""A motion module of the published width: v3 for SD1.5, 417 million parameters, 0.8 GB in fp16."""

import json
import struct

import pytest
import torch
from safetensors import safe_open

from animdiff_cli.jobs.convert import convert_weights, plan_conversion
from animdiff_cli.motion.module import MotionModule
from animdiff_cli.motion.spec import MotionSpec
from animdiff_cli.weights.identify import identify

V3 = MotionSpec(
    version="v3",
    down=((320,) * 2, (640,) * 2, (1280,) * 2, (1280,) * 2),
    mid=(),
    up=((1280,) * 3, (1280,) * 3, (640,) * 3, (320,) * 3),
    max_frames=32,
)


@pytest.fixture
def published(tmp_path):
    """Write a file with the keys, shapes and dtype of `v3_sd15_mm` in fp16. Its zeros are holes on disk."""
    with torch.device("meta"):
        shapes = {key: list(tensor.shape) for key, tensor in MotionModule(V3).state_dict().items()}
    table, end = {}, 0
    for key, shape in shapes.items():
        start, size = end, 2
        for side in shape:
            size *= side
        end = start + size
        table[key] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(table).encode()
    path = tmp_path / "v3_sd15_mm.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path


@pytest.mark.full
def test_a_motion_module_of_published_width_is_identified_and_converted(published, tmp_path):
    info = identify(published)
    assert info.parameters - 2 * 32 * 17_600 == 417_137_600
    assert (info.kind, info.base, info.tensors, info.dtype) == ("motion-module", "sd15", 560, "fp16")
    plan = plan_conversion(str(published), "diffusers", output=tmp_path / "adapter")
    path = convert_weights(plan).path / "diffusion_pytorch_model.safetensors"
    with safe_open(path, framework="pt") as file:
        keys = list(file.keys())
        widest = "up_blocks.0.motion_modules.2.transformer_blocks.0.ff.net.0.proj.weight"
        assert file.get_slice(widest).get_shape() == [10240, 1280]
    assert len([key for key in keys if "pos_embed" not in key]) == 520
