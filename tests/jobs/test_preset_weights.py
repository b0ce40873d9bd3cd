"""Weights that a preset needs without naming them."""

import pytest
from PIL import Image

from animdiff_cli.jobs.fetch import plan_fetch
from animdiff_cli.jobs.preset_weights import unnamed_weights


@pytest.fixture
def preset(tmp_path, monkeypatch):
    monkeypatch.setenv("ANIMDIFF_CONFIG", str(tmp_path / "config"))
    (tmp_path / "config" / "presets").mkdir(parents=True)

    def write(text):
        (tmp_path / "config" / "presets" / "mine.yaml").write_text(f"description: Mine\n{text}")
        return "mine"

    return write


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("controls: [controlnet-depth=no.mp4]", ["depth-anything-v2-small"]),
        ("controls: [controlnet-depth=no.mp4]\npreprocess_weights: [dpt-hybrid]", []),
        ("controls: [{ref: controlnet-canny, source: no.mp4, preprocess: openpose}]", ["openpose-body"]),
        ("controls: [controlnet-canny=no.mp4]", []),
        ("controls: [controlnet-depth=no.mp4]\npreprocess: none", []),
        ("preprocess: softedge", ["hed"]),
        ("model: toonyou\nimage_method: pia", ["pia"]),
        ("model: toonyou\nimage_method: pia\nmotion_module: pia", []),
        ("model: toonyou\nimage_method: sparsectrl", ["sparsectrl-rgb"]),
        ("model: toonyou\nimage_method: blend", []),
        ("steps: 4", []),
    ],
)
def test_preprocessors_and_methods_of_pictures_bring_their_weights(preset, text, weights):
    assert list(unnamed_weights(preset(text))) == weights


def test_a_source_that_is_a_control_picture_needs_no_preprocessor(preset, tmp_path):
    grey = tmp_path / "depth.png"
    Image.linear_gradient("L").save(grey)
    assert unnamed_weights(preset(f"controls: [controlnet-depth={grey}]")) == ()


def test_fetch_for_a_preset_lists_them(preset):
    items = plan_fetch(preset=preset("model: toonyou\ncontrols: [controlnet-depth=no.mp4]"), offline=True).items
    assert {"toonyou", "controlnet-depth", "depth-anything-v2-small"} <= {planned.item.name for planned in items}
