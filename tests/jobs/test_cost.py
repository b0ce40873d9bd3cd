"""The counted cost of a clip, compared with what its render does."""

import pytest

from animdiff_cli.config.layers import keyword_layer
from animdiff_cli.jobs.cost import count_cost, num_steps
from animdiff_cli.jobs.estimate import estimate
from animdiff_cli.jobs.probe import probe
from animdiff_cli.jobs.rates import read_rates
from animdiff_cli.jobs.render import load_planned
from animdiff_cli.jobs.render_plan import plan_renders


@pytest.fixture
def plan(small, tmp_path, monkeypatch):
    monkeypatch.setenv("ANIMDIFF_CACHE", str(tmp_path / "cache"))

    def planned(**settings):
        usual = {**small, "prompt": "a fox", "width": 16, "height": 16, "context_mode": "unet"}
        return plan_renders([keyword_layer({**usual, **settings})])

    return planned


@pytest.fixture
def animator(plan):
    return load_planned(plan())


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 3},
        {"steps": 3, "scheduler": "heun"},
        {"steps": 4, "scheduler": "pndm", "guidance_scale": 1},
        {"num_frames": 9, "context_length": 4, "steps": 2},
        {"num_frames": 9, "context_length": 4, "steps": 2, "context_mode": "plug"},
        {"num_frames": 9, "context_length": 4, "steps": 5, "context_schedule": "uniform", "context_stride": 2},
        {"num_frames": 10, "context_length": 4, "steps": 4, "loop": True},
        {"num_frames": 10, "context_length": 4, "steps": 2, "context_schedule": "batched", "free_init": 2},
    ],
    ids=str,
)
def test_the_render_makes_the_calls_that_were_counted(plan, animator, settings):
    planned = plan(**settings)
    calls = []
    hook = animator.components.unet.register_forward_hook(lambda unet, args, output: calls.append(len(args[0])))
    animator.render(planned.configs[0])
    hook.remove()
    cost = count_cost(planned.configs[0], planned.weights, planned.device)
    rows = 2 if planned.configs[0].has_guidance else 1
    assert calls == [cost.call_frames * rows] * cost.calls
    assert sum(cost.windows_per_step) == (cost.calls if planned.configs[0].context_mode == "unet" else 6)


@pytest.mark.parametrize(
    ("settings", "rows", "whole"),
    [
        ({"steps": 5, "cache": "deep:2"}, [2] * 5, [0, 2, 4]),
        ({"steps": 5, "guidance_until": 0.6}, [2, 2, 2, 1, 1], range(5)),
        ({"steps": 5, "cache": "deep:4", "guidance_until": 0.3}, [2, 2, 1, 1, 1], [0, 4]),
        ({"steps": 4, "guidance_scale": "steps:0:0,-1:6", "cache": "deep:3"}, [1, 2, 2, 2], [0, 1, 3]),
        ({"steps": 4, "guidance_scale": "steps:0:6,1:1", "cache": "deep:1"}, [2, 1, 1, 1], range(4)),
        ({"steps": 3, "scheduler": "heun", "cache": "deep:3", "free_init": 2}, [2] * 10, [0, 3, 5, 8]),
        (
            {"num_frames": 7, "context_length": 4, "steps": 3, "cache": "deep:3", "guidance_scale": "2:2,3:0"},
            [2, 1, 2, 1, 2, 1],
            [0, 1],
        ),
        (
            {"num_frames": 9, "context_length": 4, "steps": 4, "context_schedule": "uniform", "cache": "deep:2"},
            [2] * 12,
            [0, 1, 2, 6, 7, 8],
        ),
    ],
    ids=str,
)
def test_rows_and_reuse_are_those_that_were_counted(plan, animator, settings, rows, whole):
    planned = plan(**settings)
    unet, sizes, middle = animator.components.unet, [], []
    hooks = [
        unet.register_forward_pre_hook(lambda unet, args: sizes.append(len(args[0]))),
        unet.mid_block.register_forward_hook(lambda block, args, output: middle.append(len(sizes) - 1)),
    ]
    animator.render(planned.configs[0])
    for hook in hooks:
        hook.remove()
    cost = count_cost(planned.configs[0], planned.weights, planned.device)
    assert [size // cost.call_frames for size in sizes] == rows
    assert middle == list(whole)
    assert (cost.calls, cost.reusing_calls) == (len(rows), len(rows) - len(whole))


def test_a_clip_costs_its_calls_and_its_frames(plan):
    long, short = plan(num_frames=32, context_length=16), plan(num_frames=16)
    costs = [count_cost(planned.configs[0], planned.weights, planned.device) for planned in (long, short)]
    assert costs[0].call_flops == costs[1].call_flops
    assert costs[0].memory_bytes == costs[1].memory_bytes
    assert costs[0].flops > 2 * costs[1].flops
    assert costs[0].weight_bytes == 4 * sum(t.numel() for t in tensors(load_planned(short)))


def tensors(animator):
    parts = animator.components
    for module in (parts.unet, parts.vae, parts.text_encoder, animator.motion):
        yield from module.state_dict().values()


def test_every_scheduler_is_counted(plan):
    assert num_steps(plan(steps=5).configs[0]) == 5
    assert num_steps(plan(steps=5, scheduler="heun").configs[0]) == 9


def test_a_probe_measures_what_an_estimate_needs(plan):
    planned = plan(num_frames=9, context_length=4, steps=3)
    assert estimate(planned).rate is None
    rate = probe(planned)
    assert read_rates() == [rate]
    cost = count_cost(planned.configs[0], planned.weights, planned.device)
    seconds = rate.setup_seconds + cost.calls * rate.call_seconds + 9 * rate.frame_seconds
    assert estimate(planned).seconds == pytest.approx(seconds)
