"""Prompts and seeds expand into the clips to render."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.config.sampling_settings import MAX_SEED
from animdiff_cli.core.seeds import MAX_CLIPS, SEEDS, Job, expand_jobs, random_seeds
from animdiff_cli.errors import UsageError

SEED = st.integers(0, MAX_SEED)


def _noise(seed):
    return torch.randn(8, generator=torch.Generator("cpu").manual_seed(seed)).tolist()


def test_every_prompt_is_combined_with_every_seed_in_order():
    jobs = expand_jobs(["fox", "fish"], [2, 1], 1, random.Random(0))
    assert jobs == [Job("fox", 2), Job("fox", 1), Job("fish", 2), Job("fish", 1)]


def test_repeat_counts_up_from_each_seed_without_duplicates():
    assert [job.seed for job in expand_jobs(["fox"], [5, 6], 3, random.Random(0))] == [5, 6, 7, 8]


def test_repeat_wraps_at_the_largest_seed():
    assert [job.seed for job in expand_jobs(["fox"], [MAX_SEED], 2, random.Random(0))] == [MAX_SEED, 0]


def test_random_seeds_are_shared_by_all_prompts():
    jobs = expand_jobs(["fox", "fish"], [], 3, random.Random(0))
    by_prompt = {prompt: [job.seed for job in jobs if job.prompt == prompt] for prompt in ("fox", "fish")}
    assert by_prompt["fox"] == by_prompt["fish"]
    assert len(set(by_prompt["fox"])) == 3


@given(st.lists(st.text(), min_size=1, max_size=4), st.lists(SEED, max_size=4), st.integers(1, 5))
def test_no_clip_is_expanded_twice(prompts, seeds, repeat):
    jobs = expand_jobs(prompts, seeds, repeat, random.Random(1))
    assert len(jobs) == len(set(jobs))
    assert {job.prompt for job in jobs} == set(prompts)
    assert set(seeds) <= {job.seed for job in jobs}


@given(st.integers(1, 50), st.randoms(use_true_random=False))
def test_random_seeds_are_distinct_and_below_2_to_the_32(count, source):
    seeds = random_seeds(count, source)
    assert len(set(seeds)) == count
    assert all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_outside_64_bits_is_refused(seed):
    with pytest.raises(UsageError, match="64-bit") as refusal:
        expand_jobs(["fox"], [seed], 1, random.Random(0))
    assert "random" in (refusal.value.hint or "")


@pytest.mark.parametrize("repeat", [0, -3])
def test_a_repeat_below_one_is_refused(repeat):
    with pytest.raises(UsageError, match="repeat"):
        expand_jobs(["fox"], [], repeat, random.Random(0))


@pytest.mark.parametrize(
    ("prompts", "seeds", "repeat", "count", "most"),
    [(1, 0, 10**30, f"{10**30:,}", 10_000), (4, 5, 501, "10,020", 500), (101, 100, 1, "10,100", 1)],
)
def test_more_clips_than_one_command_renders_are_refused_at_once(prompts, seeds, repeat, count, most):
    texts = [f"fox {number}" for number in range(prompts)]
    with pytest.raises(UsageError, match=f"{count} clips: one command renders at most 10,000") as refusal:
        expand_jobs(texts, range(seeds), repeat, random.Random(0))
    assert refusal.value.hint.startswith(f"use `--repeat` up to {most},")
    assert len(expand_jobs(["fox"], [], MAX_CLIPS, random.Random(0))) == MAX_CLIPS


def test_a_missing_prompt_hints_at_the_flag():
    with pytest.raises(UsageError) as refusal:
        expand_jobs([], [1], 1, random.Random(0))
    assert "--prompt" in (refusal.value.hint or "")


def test_core_and_schema_agree_on_the_largest_seed():
    assert MAX_SEED == SEEDS - 1


@pytest.mark.parametrize("seed", [0, 2**53 + 1, 2**63 - 1, 2**63, MAX_SEED])
def test_torch_accepts_every_seed_unchanged(seed):
    assert torch.Generator("cpu").manual_seed(seed).initial_seed() == seed


def test_cpu_noise_depends_on_the_low_32_bits_only():
    assert _noise(7) == _noise(7 + 2**32)
    assert _noise(7) != _noise(8)
