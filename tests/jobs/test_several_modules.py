"""Several motion modules in one render: settings, files, recipe, and layouts that do not agree."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from animdiff_cli import generate
from animdiff_cli.config.layers import Layer, keyword_layer
from animdiff_cli.config.several_modules import with_first_module
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.cost import count_cost
from animdiff_cli.jobs.render_plan import plan_renders


def far(one, other):
    """The largest difference of two clips, in levels of 255."""
    return abs(one.frames.astype(int) - other.frames).max()


@pytest.fixture
def alone(small):
    return {key: value for key, value in small.items() if key != "motion_module"}


@pytest.fixture
def second(small, tmp_path):
    """A module of the same layout whose motion differs."""
    generator = torch.Generator().manual_seed(9)
    weights = {
        key: weight + 0.2 * torch.randn(weight.shape, generator=generator) if weight.is_floating_point() else weight
        for key, weight in load_file(small["motion_module"]).items()
    }
    save_file(weights, tmp_path / "second.safetensors", {"animdiff.motion_version": "v3"})
    return tmp_path / "second.safetensors"


def test_weights_of_one_and_zero_are_the_one_module(small, alone, second):
    first = small["motion_module"]
    mixed = generate("a fox", **alone, motion_modules=[f"{first}@1", f"{second}@0"])
    assert far(mixed, generate("a fox", **small)) <= 1
    other = generate("a fox", **alone, motion_modules=[f"{first}@0", f"{second}@1"])
    assert far(other, generate("a fox", **small | {"motion_module": second})) <= 1 < far(other, mixed)


def test_halves_of_one_module_are_that_module(small, alone):
    first = small["motion_module"]
    mixed = generate("a fox", **alone, motion_modules=[f"{first}@0.5", {"ref": first, "scale": 0.5}])
    assert far(mixed, generate("a fox", **small)) <= 1


def test_the_recipe_names_all_modules_and_renders_again(small, alone, second):
    clip = generate("a fox", **alone, motion_modules=[f"{small['motion_module']}@0:1,1:0", f"{second}@0:0,1:1"])
    config, weights = clip.recipe["config"], clip.recipe["weights"]
    assert config["motion_module"] == str(small["motion_module"])
    assert config["motion_modules"] == [f"{small['motion_module']}@0:1,1:0", f"{second}@0:0,1:1"]
    assert list(weights["motion_modules"]) == [small["motion_module"].name, second.name]
    assert far(generate(**config), clip) == 0
    assert "motion_modules" not in generate("a fox", **small).recipe["config"]


def test_modules_of_other_layouts_are_refused(small, alone, tmp_path):
    weights = load_file(small["motion_module"])
    save_file(weights, tmp_path / "v1.safetensors", {"animdiff.motion_version": "v1"})
    with pytest.raises(UsageError, match=r"v1\.safetensors has another layout than the first motion module: v1 with"):
        generate(
            "a fox", **alone, motion_modules=[f"{small['motion_module']}@0.5", f"{tmp_path / 'v1.safetensors'}@0.5"]
        )


def test_the_first_module_is_the_one_that_recommendations_follow():
    several = Layer("look.yaml", {"motion_modules": ["mm-v3@0.5", {"ref": "other", "scale": 0.5}]})
    (found,) = with_first_module([several])
    assert found.values["motion_module"] == "mm-v3"
    _, flag = with_first_module([several, Layer("flags", {"motion_module": "mm-v2"})])
    assert flag.values == {"motion_module": "mm-v2", "motion_modules": ()}
    with pytest.raises(UsageError, match="`motion_module` is `b`, and the first of `motion_modules` is `a`"):
        with_first_module([Layer("look.yaml", {"motion_module": "b", "motion_modules": ["a@1"]})])


def test_every_module_is_counted(small, alone, second):
    def cost(**settings):
        plan = plan_renders([keyword_layer({"prompt": "a fox", **settings})])
        return count_cost(plan.configs[0], plan.weights, plan.device)

    first = small["motion_module"]
    one, two = cost(**small), cost(**alone, motion_modules=[first, second])
    still = cost(**small | {"motion_module": None})
    assert two.flops - one.flops == one.flops - still.flops > 0
    assert two.weight_bytes - one.weight_bytes == one.weight_bytes - still.weight_bytes > 0
