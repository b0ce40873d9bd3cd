"""Check a LoRA by names and shapes alone: the computed size of its change matches the change."""

import pytest
import torch

from animdiff_cli.errors import UsageError
from animdiff_cli.weights.lazy import wrap_tensor
from animdiff_cli.weights.lora import LoraWeights, check_lora, delta_size
from animdiff_cli.weights.lora_merge import lora_delta, merge_loras_in_place

#: family → (shape by role, shape of the changed weight), for matrices and convolutions
FAMILIES = {
    "lora": ({"up": (6, 2), "down": (2, 5)}, (6, 5)),
    "lora on a convolution": ({"up": (6, 2, 1, 1), "down": (2, 5, 3, 3)}, (6, 5, 3, 3)),
    "1x1 as a matrix": ({"up": (6, 2), "down": (2, 5)}, (6, 5, 1, 1)),
    "locon with a core": ({"up": (6, 2, 1, 1), "mid": (2, 4, 3, 3), "down": (4, 5, 1, 1)}, (6, 5, 3, 3)),
    "loha": ({f"hada_w{n}_{s}": (6, 2) if s == "a" else (2, 5) for n in "12" for s in "ab"}, (6, 5)),
    "loha on a convolution": (
        {f"hada_w{n}_{s}": (6, 2) if s == "a" else (2, 45) for n in "12" for s in "ab"},
        (6, 5, 3, 3),
    ),
    "loha with cores": (
        {f"hada_w{n}_{s}": (2, 6) if s == "a" else (2, 5) for n in "12" for s in "ab"}
        | {f"hada_t{n}": (2, 2, 3, 3) for n in "12"},
        (6, 5, 3, 3),
    ),
    "lokr": ({"lokr_w1": (2, 2), "lokr_w2": (3, 4)}, (6, 8)),
    "lokr of low rank": ({"lokr_w1_a": (2, 1), "lokr_w1_b": (1, 2), "lokr_w2_a": (3, 2), "lokr_w2_b": (2, 4)}, (6, 8)),
    "lokr on a convolution": ({"lokr_w1": (2, 2), "lokr_w2": (3, 2, 3, 3)}, (6, 4, 3, 3)),
    "lokr with a core": (
        {"lokr_w1": (2, 2), "lokr_w2_a": (2, 3), "lokr_w2_b": (2, 2), "lokr_t2": (2, 2, 3, 3)},
        (6, 4, 3, 3),
    ),
}


def module_tensors(shapes):
    return {role: wrap_tensor(torch.ones(shape)) for role, shape in shapes.items()}


def lora(module="unet.a", **shapes):
    return LoraWeights("style.safetensors", {module: module_tensors(shapes)}, {}, 1.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_delta_size_matches_the_computed_delta(family):
    shapes, weight = FAMILIES[family]
    assert delta_size(module_tensors(shapes)) == (weight[0], torch.Size(weight).numel())
    assert lora_delta(module_tensors(shapes), None, weight, 0, weight[0]).shape == weight


@pytest.mark.parametrize("family", FAMILIES)
def test_matching_modules_are_merged_and_missing_ones_are_listed(family):
    shapes, shape = FAMILIES[family]
    style = LoraWeights("s", {"unet.a": module_tensors(shapes), "unet.gone": module_tensors(shapes)}, {}, 0.5)
    checked = check_lora(style, {"unet.a.weight": shape}, "the model")
    assert (list(checked.lora.modules), checked.missing) == (["unet.a"], ("unet.gone",))
    assert checked.note == "s: 1 of its 2 modules are not in the model, such as `unet.gone`"
    weight = torch.nn.Parameter(torch.zeros(shape))
    merge_loras_in_place({"unet.a.weight": weight}, [checked.lora])
    assert torch.allclose(weight, 0.5 * lora_delta(module_tensors(shapes), None, shape, 0, shape[0]))


def test_a_wrong_shape_is_refused_naming_both_shapes():
    with pytest.raises(UsageError, match=r"its change of `unet\.a` is 6 x 5, the weight is 6 x 8"):
        check_lora(lora(up=(6, 2), down=(2, 5)), {"unet.a.weight": (6, 8)}, "the model")


def test_a_lora_without_a_matching_module_is_refused():
    with pytest.raises(UsageError, match="changes nothing in the model"):
        check_lora(lora("unet.b", up=(6, 2), down=(2, 5)), {"unet.a.weight": (6, 5)}, "the model")


def test_half_precision_is_rounded_once_for_several_loras():
    weight = torch.nn.Parameter(torch.ones(1, 1, dtype=torch.float16))
    step = LoraWeights(
        "s", {"unet.a": {"up": wrap_tensor(torch.full((1, 1), 3e-4)), "down": wrap_tensor(torch.ones(1, 1))}}, {}, 1.0
    )
    merge_loras_in_place({"unet.a.weight": weight}, [step, step])  # each alone would be rounded away
    assert weight.item() == torch.tensor(1.0006).half().item() != 1.0
