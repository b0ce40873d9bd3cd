"""Whether a LoRA fits, by names and shapes alone: the size it says it changes is the size it does change."""

import pytest
import torch

from animdiff_cli.errors import UsageError
from animdiff_cli.weights.lazy import known
from animdiff_cli.weights.lora_apply import bake
from animdiff_cli.weights.lora_fit import changed_size, fit
from animdiff_cli.weights.lora_merge import Merge, delta

#: role → shape, and the shape of the weight it changes; every family, matrices and convolutions
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


def group(shapes):
    return {role: known(torch.ones(shape)) for role, shape in shapes.items()}


def merge(module="unet.a", **shapes):
    return Merge("style.safetensors", {module: group(shapes)}, {}, 1.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_size_that_is_told_is_the_size_of_the_change(family):
    shapes, weight = FAMILIES[family]
    assert changed_size(group(shapes)) == (weight[0], torch.Size(weight).numel())
    assert delta(group(shapes), None, weight, 0, weight[0]).shape == weight


@pytest.mark.parametrize("family", FAMILIES)
def test_what_fits_is_baked_in_and_what_is_not_there_is_listed(family):
    shapes, shape = FAMILIES[family]
    one = Merge("s", {"unet.a": group(shapes), "unet.gone": group(shapes)}, {}, 0.5)
    fitted = fit(one, {"unet.a.weight": shape}, "the model")
    assert (list(fitted.merge.groups), fitted.missing) == (["unet.a"], ("unet.gone",))
    assert fitted.note == "s: 1 of its 2 modules are not in the model, such as `unet.gone`"
    weight = torch.nn.Parameter(torch.zeros(shape))
    bake({"unet.a.weight": weight}, [fitted.merge])
    assert torch.allclose(weight, 0.5 * delta(group(shapes), None, shape, 0, shape[0]))


def test_another_shape_is_refused_with_both():
    with pytest.raises(UsageError, match=r"it changes `unet\.a` as 6 x 5, there it is 6 x 8"):
        fit(merge(up=(6, 2), down=(2, 5)), {"unet.a.weight": (6, 8)}, "the model")


def test_nothing_that_fits_is_an_error():
    with pytest.raises(UsageError, match="changes nothing in the model"):
        fit(merge("unet.b", up=(6, 2), down=(2, 5)), {"unet.a.weight": (6, 5)}, "the model")


def test_half_precision_is_rounded_once_however_many_loras_there_are():
    weight = torch.nn.Parameter(torch.ones(1, 1, dtype=torch.float16))
    step = Merge("s", {"unet.a": {"up": known(torch.full((1, 1), 3e-4)), "down": known(torch.ones(1, 1))}}, {}, 1.0)
    bake({"unet.a.weight": weight}, [step, step])  # each alone would be rounded away
    assert weight.item() == torch.tensor(1.0006).half().item() != 1.0
