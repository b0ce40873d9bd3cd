"""FreeNoise, against what the paper says of its windows."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.windows import Windows
from animdiff_cli.diffusion.noise import distinct_frames, free_noise, initial_noise, looped_order, shuffled_order
from animdiff_cli.diffusion.noise import seeded_generator as seeded
from animdiff_cli.diffusion.pipeline import draw_noise

SHAPES = st.tuples(st.integers(1, 90), st.integers(1, 24), st.integers(1, 24)).map(
    lambda shape: (shape[0], shape[1], min(shape[1], shape[2]))  # frames, context length, stride
)


def plain(seed, num_frames, length, stride):
    """Follow the paper frame by frame: noise [1, 4, F, 2, 3]."""
    generator = seeded(seed)
    frames = list(torch.randn(1, 4, min(length, num_frames), 2, 3, generator=generator).unbind(2))
    while len(frames) < num_frames:
        left_behind = frames[-length:][: min(stride, num_frames - len(frames))]
        frames += [left_behind[index] for index in torch.randperm(len(left_behind), generator=generator)]
    return torch.stack(frames, 2)


@given(SHAPES, st.integers(0, 9))
def test_free_noise_is_the_first_window_and_shuffles_of_what_each_window_leaves_behind(shape, seed):
    num_frames, length, stride = shape
    noise = free_noise(seeded(seed), num_frames, 2, 3, context_length=length, stride=stride)
    assert torch.equal(noise, plain(seed, num_frames, length, stride))


@given(SHAPES)
def test_every_window_and_the_last_one_hold_every_drawn_frame_once(shape):
    num_frames, length, stride = shape
    order = shuffled_order(seeded(0), num_frames, length, stride)
    assert len(order) == num_frames
    starts = [*range(0, num_frames - length, stride), max(0, num_frames - length)]
    assert all(sorted(order[start : start + length]) == list(range(min(num_frames, length))) for start in starts)


@pytest.mark.parametrize("loop", [False, True])
def test_one_window_has_the_noise_of_every_other_clip(loop):
    noise = free_noise(seeded(3), 16, 4, 4, context_length=16, stride=12, loop=loop)
    assert torch.equal(noise, initial_noise(seeded(3), 16, 4, 4))


@pytest.mark.parametrize("loop", [False, True])
def test_equal_seeds_give_equal_noise_of_unit_variance(loop):
    noises = [free_noise(seeded(s), 64, 32, 32, context_length=16, stride=12, loop=loop) for s in (1, 1, 2)]
    assert torch.equal(noises[0], noises[1])
    assert not torch.equal(noises[0], noises[2])
    assert all(abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02 for noise in noises)


def test_the_second_stretch_is_shuffled():
    order = shuffled_order(seeded(1), 32, 16, 12)
    assert order[16:28] != list(range(12))


@given(SHAPES)
def test_a_loop_is_equal_parts_with_the_same_frames(shape):
    num_frames, length, stride = shape
    order = looped_order(seeded(0), num_frames, length, stride)
    parts = max(1, num_frames // length)
    uses = Counter(order)
    assert len(order) == num_frames
    assert len(uses) == distinct_frames(num_frames, length, loop=True)
    assert all(uses[frame] == parts for frame in range(num_frames // parts))


@given(SHAPES)
def test_a_loop_keeps_equal_frames_apart_across_its_end_too(shape):
    """At least `length - stride + 1` frames lie between them, as in FreeNoise without a loop."""
    num_frames, length, stride = shape
    order = looped_order(seeded(0), num_frames, length, stride)
    for frame in set(order):
        places = [place for place, drawn in enumerate(order) if drawn == frame]
        following = places[1:] + places[:1]
        gaps = [(to - place) % num_frames or num_frames for place, to in zip(places, following, strict=True)]
        assert min(gaps) > min(length, num_frames) - stride


@pytest.mark.parametrize("num_frames", [32, 48, 64])
def test_windows_across_the_end_of_a_loop_hold_every_drawn_frame_once(num_frames):
    order = looped_order(seeded(0), num_frames, 16, 4)
    windows = [[order[(start + k) % num_frames] for k in range(16)] for start in range(0, num_frames, 4)]
    assert all(sorted(window) == list(range(16)) for window in windows)


@pytest.mark.parametrize(("schedule", "loop"), [("static", False), ("looped", True)])
def test_a_render_draws_free_noise_for_its_windows(schedule, loop):
    config = GenerateConfig(prompt="", model="toy", seed=1, num_frames=40, width=32, height=24)
    free = config.model_copy(update={"noise_schedule": "free-noise"})
    windows = Windows(40, 16, 4, schedule=schedule)
    random = initial_noise(seeded(1), 40, 3, 4)
    assert torch.equal(draw_noise(seeded(1), config, windows), random)
    assert torch.equal(draw_noise(seeded(1), free, None), random)
    shared = free_noise(seeded(1), 40, 3, 4, context_length=16, stride=12, loop=loop)
    assert torch.equal(draw_noise(seeded(1), free, windows), shared)
