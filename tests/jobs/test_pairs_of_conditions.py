"""Every pair of conditions, and each with every way to render: both have an effect, or the pair is refused first."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from animdiff_cli.config.layers import keyword_layer
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.loading import load_animator
from animdiff_cli.jobs.render import render
from animdiff_cli.jobs.render_plan import plan_renders
from tests.jobs.conftest import filled

#: settings of every clip; names in braces are those of the fixture `of_conditions`
CLIP = {
    "prompt": "a fox",
    "model": "{model}",
    "motion_module": "{motion}",
    "steps": 1,
    "num_frames": 3,
    "width": 32,
    "height": 32,
    "fps": 8,
    "guidance_scale": 3,
    "dtype": "fp32",
    "device": "cpu",
    "seed": 1,
}
VIDEO = {"video": "{clip}", "denoise": 0.7}
CONDITIONS = {
    "ControlNet": {"controls": ["{control}={picture}"]},
    "SparseCtrl": {"controls": ["{sparse}={other}"]},
    "image prompt": {"image_prompts": ["{adapter}={picture}"]},
    "region": {"regions": ["{left}=a boat"]},
    "image, blend": {"images": ["{other}"], "image_method": "blend"},
    "image, pia": {"images": ["{other}"], "image_method": "pia", "motion_module": "{pia}"},
    "video": VIDEO,
    "invert": VIDEO | {"invert": True},
    "mask": VIDEO | {"mask": "{left}"},
    "inpainting model": VIDEO | {"mask": "{left}", "model": "{inpainting}"},
}
WAYS = {
    "windows around the UNet": {"context_length": 2, "context_overlap": 1, "context_mode": "unet"},
    "windows inside": {"context_length": 2, "context_overlap": 1, "context_mode": "plug"},
    "loop": {"context_length": 2, "context_overlap": 1, "loop": True},
    "prompt travel": {"prompt": {"0": "a fox", "-1": "a boat"}},
    "scheduled LoRA": {"loras": ["{lora}@0:1,-1:0.5"]},
    "cache": {"cache": "deep:2", "steps": 3},
    "no guidance": {"guidance_scale": 1},
}
#: those that other tests show with some conditions already
ALSO_ELSEWHERE = {"windows inside", "loop", "cache"}
CANNOT = "cannot be combined"
#: pairs that are refused, and what the message says
REFUSED = {
    **{("image, blend", other): CANNOT for other in ("video", "invert", "mask", "inpainting model")},
    **{("image, pia", other): CANNOT for other in ("video", "invert", "mask", "inpainting model")},
    ("image, blend", "image, pia"): "leaves its picture out",
}
PAIRS = [pair for pair in combinations(CONDITIONS, 2) if pair not in REFUSED]


def both(one, other):
    """Unite settings; lists are joined."""
    joined = {key: one[key] + other[key] for key in one.keys() & other.keys() if isinstance(one[key], list)}
    return one | other | joined


def refused(settings, paths):
    with pytest.raises(UsageError) as raised:
        planned(settings, paths)
    assert raised.value.exit_code == 2 and raised.value.hint
    return str(raised.value)


def planned(settings, paths, **more):
    given = filled(CLIP | settings, paths)
    device = given.pop("device")
    return plan_renders([keyword_layer(given)], device=device, **more)


class Renderer:
    """Renders clips with weights that are loaded once for each image model and motion module."""

    def __init__(self, paths):
        self.paths, self.loaded, self.frames = paths, {}, {}

    def __call__(self, settings):
        """Return the frames of a clip, rendered once."""
        key = repr(sorted(settings.items()))
        if key not in self.frames:
            config = planned(settings, self.paths).configs[0]
            self.frames[key] = np.asarray(self._animator(config).render(config).frames).astype(int)
        return self.frames[key]

    def _animator(self, config):
        """Return loaded weights, without the networks that a clip does not name."""
        key = config.model, config.motion_module
        if key not in self.loaded:
            networks = both(CONDITIONS["ControlNet"], both(CONDITIONS["SparseCtrl"], CONDITIONS["image prompt"]))
            needed = VIDEO | {"mask": "{left}"} if "inpainting" in config.model else {}
            needed |= CONDITIONS["image, pia"] if "pia" in str(config.motion_module) else {}
            plan = planned(networks | WAYS["scheduled LoRA"] | needed | {"model": key[0]}, self.paths)
            self.loaded[key] = load_animator(plan.weights, plan.device)
        animator = self.loaded[key]
        named = {file.path: (file, network) for file, network in animator.controls}
        refs = [next(path for path in named if str(control).startswith(str(path))) for control in config.controls]
        return replace(
            animator,
            controls=tuple(named[path] for path in refs),
            image_prompts=animator.image_prompts if config.image_prompts else (),
            loras=animator.loras if config.loras else (),
        )


@pytest.fixture(scope="module")
def rendered(of_conditions):
    return Renderer(of_conditions)


@pytest.mark.parametrize("pair", PAIRS, ids=" + ".join)
def test_both_of_a_pair_have_an_effect(rendered, pair):
    check(rendered, *(CONDITIONS[name] for name in pair))


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[pytest.mark.full] if way in ALSO_ELSEWHERE else []) for way in WAYS]
)
@pytest.mark.parametrize("name", CONDITIONS)
def test_every_condition_has_an_effect_in_every_way(rendered, name, way):
    check(rendered, CONDITIONS[name], WAYS[way])


def check(rendered, one, other):
    frames = rendered(both(one, other))
    assert frames.std() > 1
    for alone in (one, other):
        # what needs both, as a mask needs its video, has no frames of its own
        if both(alone, one if alone is other else other) != alone:
            assert (frames != rendered(alone)).any()


@pytest.mark.parametrize("pair", REFUSED, ids=" + ".join)
def test_other_pairs_are_refused_before_weights_load(of_conditions, pair):
    settings = both(*(CONDITIONS[name] for name in pair))
    settings |= {"image_method": CONDITIONS[pair[0]]["image_method"]}
    assert REFUSED[pair] in refused(settings, of_conditions)


def test_the_clips_of_one_run_do_not_disturb_each_other(of_conditions):
    """All conditions that go together, in two clips of one plan and each alone."""
    names = ("ControlNet", "SparseCtrl", "image prompt", "region", "mask")
    settings = CLIP
    for name in names:
        settings = both(settings, CONDITIONS[name])
    together = [clip.frames for clip in render(planned(settings, of_conditions, seeds=(1, 2)))]
    (alone,) = render(planned(settings | {"seed": 2}, of_conditions))
    assert (together[0] != together[1]).any() and np.array_equal(together[1], alone.frames)
