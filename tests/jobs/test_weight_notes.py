"""Notes on scales of 0 and on what is given twice."""

import pytest

from animdiff_cli.config.layers import Layer
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.render_plan import plan_renders


def notes(**settings):
    fixed = {"prompt": "a fox", "model": "pocket", "width": 64, "height": 64, "num_frames": 2}
    return plan_renders([Layer("test", fixed | settings)]).notes


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ({"loras": ["pocket-crayon@0"]}, "LoRA `pocket-crayon` has no effect: its scale is 0"),
        ({"motion_loras": ["pocket-zoom-in@0.0"]}, "MotionLoRA `pocket-zoom-in` has no effect: its scale is 0"),
        ({"domain_adapter": "pocket-adapter@0"}, "domain adapter `pocket-adapter` has no effect: its scale is 0"),
        ({"controls": ["pocket-outline={picture}@0"]}, "control `pocket-outline={picture}` has no effect: its scale"),
        ({"image_prompts": ["pocket-image={picture}@0"]}, "image prompt `pocket-image={picture}` has no effect"),
        (
            {"regions": [{"source": "{picture}", "prompt": "a boat", "weight": 0}]},
            "region `{picture}=a boat` has no effect: its weight is 0",
        ),
        ({"loras": ["pocket-crayon", "pocket-crayon@0.5"]}, "LoRA `pocket-crayon` is given twice, and is applied twi"),
        ({"controls": ["pocket-outline={picture}"] * 3}, "control `pocket-outline={picture}` is given 3 times, and"),
        ({"image_prompts": ["pocket-image={picture}"] * 2}, "image prompt `pocket-image={picture}` is given twice"),
        ({"regions": ["{picture}=a boat"] * 2}, "region `{picture}=a boat` is given twice"),
        ({"motion_modules": ["pocket-motion@0.5"] * 2}, "motion module `pocket-motion` is given twice"),
    ],
)
def test_what_counts_for_nothing_or_twice_is_said_once(settings, note, picture):
    def filled(value):
        if isinstance(value, dict):
            return {key: filled(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [filled(entry) for entry in value]
        return value.replace("{picture}", str(picture)) if isinstance(value, str) else value

    found = notes(**filled(settings))
    assert [one.startswith(filled(note)) for one in found].count(True) == 1
    assert len(found) == len(set(found))


def test_what_differs_or_varies_is_not_said(picture):
    curve = {"loras": ["pocket-crayon@0:0,-1:1", "pocket-neon"], "motion_loras": ["pocket-zoom-in@-0.5"]}
    regions = [f"{picture}=a boat", f"{picture}=a fish"]
    parts = [{"ref": "pocket-image", "source": str(picture), "end": 0.5}, f"pocket-image={picture}"]
    assert notes(**curve, regions=regions, image_prompts=parts, steps=4) == ()


def test_an_image_encoder_needs_an_image_prompt():
    layers = [
        Layer("test", {"prompt": "a fox", "model": "pocket"}),
        Layer("flags", {"image_encoder": "clip-vit-h"}, {"image_encoder": "--image-encoder"}),
    ]
    with pytest.raises(UsageError, match="`--image-encoder` has no effect without an image prompt"):
        plan_renders(layers)


def test_spaces_around_the_names_of_a_control_are_left_out(picture):
    plan = plan_renders(
        [Layer("test", {"prompt": "a fox", "model": "pocket", "controls": [f"pocket-outline = {picture} "]})]
    )
    assert plan.configs[0].controls == (f"pocket-outline={picture}",)


def test_a_prompt_of_a_region_that_ends_like_a_scale_is_said(picture):
    assert notes(regions=[f"{picture}=a boat@0.5", f"{picture}=me@home"]) == (
        "`a boat@0.5` is the whole prompt of a region: its weight is set by `--set regions.0.weight=0.5`",
    )
