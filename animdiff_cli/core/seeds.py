"""Expand prompts and seeds into the list of clips to render.

A seed is any unsigned 64-bit integer, which torch generators accept unchanged. All noise is drawn on the CPU, where
torch's Mersenne Twister uses only the low 32 bits: seeds that differ by a multiple of 2**32 give the same noise.
Random seeds are therefore below 2**32. They also stay exact in JSON tools that keep 53 bits.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from animdiff_cli.core.prompt_travel import Prompt
from animdiff_cli.errors import UsageError

SEEDS = 2**64
RANDOM_SEEDS = 2**32
MAX_CLIPS = 10_000  # of one command


@dataclass(frozen=True, slots=True)
class Job:
    """One clip to render."""

    prompt: Prompt
    seed: int
    negative: Prompt = ""


def expand_jobs(prompts: Sequence[Prompt], seeds: Sequence[int], repeat: int, source: random.Random) -> list[Job]:
    """Return one job for every prompt and seed, in the given order of prompts.

    `repeat` expands each seed s into s, s+1, … s+repeat-1, wrapping at 2**64. Duplicate seeds are dropped. Without
    seeds, `repeat` random ones are drawn from `source` and shared by all prompts, so that prompts can be compared.
    Raises UsageError.

    >>> expand_jobs(["a fox", "a fish"], [7], 1, random.Random())
    [Job(prompt='a fox', seed=7, negative=''), Job(prompt='a fish', seed=7, negative='')]
    """
    if not prompts:
        raise UsageError("no prompt given", hint='for example `--prompt "a red rocket in the night sky"`')
    if repeat < 1:
        raise UsageError(f"cannot repeat {repeat} times", hint=f"use `--repeat` from 1 to {MAX_CLIPS}")
    prompts = list(dict.fromkeys(prompts))
    count = len(prompts) * max(len(seeds), 1) * repeat
    if count > MAX_CLIPS:
        raise UsageError(
            f"{count:,} clips: one command renders at most {MAX_CLIPS:,}",
            hint=f"use `--repeat` up to {max(MAX_CLIPS // (count // repeat), 1)}, or fewer prompts and seeds",
        )
    all_seeds = _repeated(seeds, repeat) if seeds else random_seeds(repeat, source)
    return [Job(prompt, seed) for prompt in prompts for seed in all_seeds]


def random_seeds(count: int, source: random.Random) -> list[int]:
    """Draw `count` distinct seeds below 2**32. Use `random.SystemRandom()` for unpredictable ones."""
    return source.sample(range(RANDOM_SEEDS), count)


def _repeated(seeds: Sequence[int], repeat: int) -> list[int]:
    for seed in seeds:
        if not 0 <= seed < SEEDS:
            raise UsageError(
                f"seed {seed} is not an unsigned 64-bit integer",
                hint="use 0 to 18446744073709551615, or omit `--seed` for a random seed",
            )
    # a dict keeps the order and drops duplicates
    return list(dict.fromkeys((seed + step) % SEEDS for seed in seeds for step in range(repeat)))
