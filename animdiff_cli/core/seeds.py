"""Seeds: which clips a call renders, and from which noise.

Any unsigned 64-bit integer is a seed. torch's generators take the whole range as it is, so no mapping is
needed. On a CPU, where this program draws all noise, torch's Mersenne twister starts from the low 32 bits:
seeds that differ by a multiple of 2**32 give the same noise. Random seeds are therefore drawn below 2**32,
which loses nothing, stays exact in JSON tools that keep 53 bits, and is short enough to type.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from animdiff_cli.errors import UsageError

SEEDS = 2**64
RANDOM_SEEDS = 2**32
MAX_REPEAT = 100_000


@dataclass(frozen=True, slots=True)
class Job:
    """One clip to render."""

    prompt: str
    seed: int


def expand(prompts: Sequence[str], seeds: Sequence[int], repeat: int, source: random.Random) -> list[Job]:
    """Lay out the clips of one call: every prompt with every seed, prompt by prompt in the order typed.

    `repeat` turns each seed s into s, s+1, … s+repeat-1, wrapping at 2**64; a seed that comes up twice is
    rendered once, since it would give the same frames. With no seeds, `repeat` different ones are drawn from
    `source` and shared by all prompts, so that the prompts can be compared. Raises UsageError.

    >>> expand(["a fox", "a fish"], [7], 1, random.Random())
    [Job(prompt='a fox', seed=7), Job(prompt='a fish', seed=7)]
    """
    if not prompts:
        raise UsageError("no prompt was given", hint='say what to see: `--prompt "a red rocket in the night sky"`')
    if not 1 <= repeat <= MAX_REPEAT:
        raise UsageError(f"cannot repeat {repeat} times", hint=f"`--repeat` goes from 1 to {MAX_REPEAT}")
    chosen = _repeated(seeds, repeat) if seeds else draw(repeat, source)
    return [Job(prompt, seed) for prompt in dict.fromkeys(prompts) for seed in chosen]


def draw(count: int, source: random.Random) -> list[int]:
    """Draw `count` different seeds below 2**32; `random.SystemRandom()` is a source that nothing can predict."""
    return source.sample(range(RANDOM_SEEDS), count)


def _repeated(seeds: Sequence[int], repeat: int) -> list[int]:
    for seed in seeds:
        if not 0 <= seed < SEEDS:
            raise UsageError(
                f"seed {seed} is not an unsigned 64-bit integer",
                hint="seeds go from 0 to 18446744073709551615; leave --seed out for a random one",
            )
    # a dict keeps the order and drops what comes twice
    return list(dict.fromkeys((seed + step) % SEEDS for seed in seeds for step in range(repeat)))
