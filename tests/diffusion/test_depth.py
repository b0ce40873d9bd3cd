"""Depth networks of transformers: the published layout, read by this program, gives what the library gives."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, DPTConfig, DPTForDepthEstimation

from animdiff_cli.diffusion.depth import MEAN, STD
from animdiff_cli.diffusion.detectors import load_detector, open_detector
from animdiff_cli.errors import IntegrityError, UsageError
from tests.toy_networks import DEPTH_ANYTHING, DEPTH_NECK, DEPTH_WIDTHS, DINO, write_depth

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return write_depth(tmp_path_factory.mktemp("published") / "depth")


@pytest.fixture
def folder(published, tmp_path):
    return shutil.copytree(published, tmp_path / "depth")


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 256, (70, 98, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["relative", "metric"])
def test_a_frame_that_needs_no_scaling_has_the_depth_that_the_library_returns(tmp_path, frame, kind):
    config = DepthAnythingConfig(**DEPTH_ANYTHING, depth_estimation_type=kind)
    size = {"height": 70, "width": 98}
    folder = write_depth(tmp_path / kind, DepthAnythingForDepthEstimation(config), size=size)
    made = load_detector(open_detector(folder), CPU)(frame)
    network = DepthAnythingForDepthEstimation.from_pretrained(folder).eval()
    pixels = (torch.from_numpy(frame).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    with torch.no_grad():
        depth = network(pixels.permute(2, 0, 1)[None]).predicted_depth[0]
    share = (depth - depth.min()) / (depth.max() - depth.min())
    expected = (1 - share if kind == "metric" else share) * 255  # metric depth is a distance, and near is white
    assert made.shape == frame.shape and made.dtype == np.uint8
    assert np.abs(made[..., 0] - expected.numpy()).max() <= 0.51  # rounding
    assert (made == made[..., :1]).all() and {0, 255} <= set(np.unique(made))


def test_dpt_in_a_pickle_sees_squares_and_pictures_keep_their_size(tmp_path, frame):
    config = DPTConfig(
        **DEPTH_WIDTHS, **DEPTH_NECK, intermediate_size=64, image_size=64, backbone_out_indices=[0, 1, 2, 3]
    )
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "keep_aspect_ratio": False}
    path = write_depth(tmp_path / "dpt", DPTForDepthEstimation(config), size={"height": 64, "width": 64}, **half)
    torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    made = load_detector(open_detector(path), CPU)(frame[:48])
    assert made.shape == (48, 98, 3) and made.min() == 0 and made.max() == 255


def changed(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def test_missing_weights_are_found_before_any_is_read(folder):
    changed(folder, lambda tensors: tensors.pop("neck.fusion_stage.layers.1.projection.bias"))
    with pytest.raises(IntegrityError, match=r"lacks 1 weights of its config, 1 of shape \(16,\)"):
        open_detector(folder)


def test_unknown_and_renamed_weights_are_refused_while_loading(folder):
    changed(folder, lambda tensors: tensors.update(stranger=torch.zeros(3)))
    with pytest.raises(IntegrityError, match="has unknown weights, first `stranger`"):
        load_detector(open_detector(folder), CPU)
    changed(folder, lambda tensors: tensors.update(stranger=tensors.pop("head.conv1.bias")))
    with pytest.raises(IntegrityError, match=r"lacks `head.conv1.bias`"):
        load_detector(open_detector(folder), CPU)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"model_type": "zoedepth"}, UsageError, "no config.json of a supported depth network"),
        ({"backbone": "facebook/dinov2-small"}, UsageError, "a part of its network from elsewhere"),
        ({"backbone_config": DEPTH_WIDTHS | DINO | {"num_hidden_layers": 10**9}}, IntegrityError, "more layers"),
        ({"backbone_config": DEPTH_WIDTHS | DINO | {"hidden_size": "wide"}}, IntegrityError, "invalid config.json"),
    ],
)
def test_configs_of_other_networks_are_refused(folder, change, error, text):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(error, match=text):
        open_detector(folder)
