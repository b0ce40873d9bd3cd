"""The prompts of a render: what the command line adds to them, and their checks before weights load."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import SystemRandom
from types import MappingProxyType

from animdiff_cli.config.input_settings import RegionEntry
from animdiff_cli.config.layers import Resolved
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.values import check_value
from animdiff_cli.core.prompt_syntax import unsupported_syntax
from animdiff_cli.core.prompt_travel import Prompt, Travel, texts_of
from animdiff_cli.core.prompt_variants import variant_spans, wildcard_names
from animdiff_cli.core.prompt_weights import parse_weights
from animdiff_cli.core.seeds import Job, expand_jobs
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.wildcards import check_wildcards, draw_prompt

#: a prompt as Python users give it
GivenPrompt = Prompt | Mapping[int | str, str]


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """What is added to the prompts of a render and is not a setting: recipes hold the result."""

    travel: Travel = field(default_factory=Travel)
    negative: Travel = field(default_factory=Travel)
    wildcards: Path | None = None  # folder with a file NAME.txt for each `__NAME__`
    needs_wildcards: bool = False  # refuse a folder of wildcards that no prompt uses: there are no later clips


def with_negative_travel(resolved: Resolved[GenerateConfig], travel: Travel) -> Resolved[GenerateConfig]:
    """Add texts at positions to the negative prompt."""
    if not travel.keys:
        return resolved
    before = resolved.values["negative_prompt"]
    texts = _travelled(travel, before, "--negative-at", "--negative")  # type: ignore[arg-type]  # checked
    negative = _checked("negative_prompt", texts, "--negative-at")
    return replace(
        resolved,
        values=MappingProxyType({**resolved.values, "negative_prompt": negative}),
        origins=MappingProxyType({**resolved.origins, "negative_prompt": "--negative-at"}),
    )


def plan_jobs(
    resolved: Resolved[GenerateConfig],
    prompts: Sequence[GivenPrompt],
    seeds: Sequence[int],
    repeat: int,
    options: PromptOptions,
) -> list[Job]:
    """List the clips of a render. Prompt and seed of the settings are used where none are given.

    Variants and wildcards are drawn by the seed of each clip.
    """
    given: list[object] = [*prompts] or [resolved.values[key] for key in ("prompt",) if key in resolved.values]
    if not given and options.travel != Travel():
        given = [""]
    checked = [_checked("prompt", prompt, "prompt") for prompt in given]
    travelled = [
        _checked("prompt", _travelled(options.travel, prompt, "--prompt-at", "--prompt"), "--prompt-at")
        for prompt in checked
    ]
    seed = resolved.values.get("seed")
    jobs = expand_jobs(travelled, seeds or ([seed] if isinstance(seed, int) else []), repeat, SystemRandom())
    check_wildcards(options.wildcards)
    negative = _checked("negative_prompt", resolved.values["negative_prompt"], "negative_prompt")
    is_plain = resolved.values["prompt_syntax"] == "plain"
    if options.needs_wildcards:
        _reject_unused_wildcards(options.wildcards, () if is_plain else (*travelled, negative))
    if is_plain:
        return [replace(job, negative=negative) for job in jobs]
    draw = partial(draw_prompt, folder=options.wildcards)
    return [Job(draw(job.prompt, job.seed), job.seed, draw(negative, job.seed)) for job in jobs]


def effective_texts(config: GenerateConfig) -> list[str]:
    """List the texts that are encoded: those of the negative prompt only with guidance."""
    negative = texts_of(config.negative_prompt) if config.has_guidance else ()
    return [*texts_of(config.prompt), *region_texts(config.regions), *negative]


def region_texts(regions: Iterable[object]) -> list[str]:
    """List the texts of all regions."""
    return [text for region in regions for text in texts_of(RegionEntry.read(region).prompt)]


def check_prompts(configs: Iterable[GenerateConfig]) -> tuple[str, ...]:
    """Check the prompts that are encoded. Returns a note for each kind of syntax in them that is not supported.

    Raises `UsageError` for a weight out of range, or a prompt that compel cannot parse.
    """
    notes: dict[str, None] = {}
    for config in configs:
        texts = effective_texts(config)
        for text in region_texts(config.regions) if config.prompt_syntax != "plain" else ():
            if spans := variant_spans(text):
                raise UsageError(
                    f"`{text[slice(*spans[0])]}` is in the prompt of a region, where no words are drawn at random",
                    hint="write the word, or `--prompt-syntax plain` to use the characters as they are",
                )
        for text in texts:
            if config.prompt_syntax == "a1111":
                parse_weights(text)
            elif config.prompt_syntax == "compel":
                from animdiff_cli.diffusion.compel_text import parse_compel

                parse_compel(text)
        notes |= dict.fromkeys(unsupported_syntax(texts, config.prompt_syntax))
    return tuple(notes)


def reject_unused_interpolation(resolved: Resolved[GenerateConfig], configs: Sequence[GenerateConfig]) -> None:
    """Raise `UsageError` for `--prompt-interpolation` or `--prompt-hold` where no text changes."""
    for key in ("prompt_interpolation", "prompt_hold"):
        flag = f"--{key.replace('_', '-')}"
        texts = [texts_of(prompt) for config in configs for prompt in (config.prompt, config.negative_prompt)]
        if resolved.origins[key] == flag and max(map(len, texts)) == 1:
            raise UsageError(
                f"`{flag}` has no effect: the prompt does not change over the clip",
                hint='add `--prompt-at "50%=another text"`',
            )


def _reject_unused_wildcards(folder: Path | None, prompts: Iterable[Prompt]) -> None:
    texts = (text for prompt in prompts for text in texts_of(prompt))
    if folder and not any(map(wildcard_names, texts)):
        raise UsageError(
            "`--wildcards` has no effect: no prompt has a wildcard",
            hint='leave `--wildcards` out, or write one, as in `--prompt "a __colour__ ball"`',
        )


def _travelled(travel: Travel, prompt: Prompt, flag: str, common: str) -> Prompt | dict[str, str]:
    """Return `travel.applied(prompt)`. Raises `UsageError` for a position without any text, of its own or in common."""
    texts = travel.applied(prompt)
    for where, text in texts.items() if isinstance(texts, dict) else ():
        if not text:
            raise UsageError(
                f"the text at `{where}` is empty",
                hint=f'write `{flag} "{where}=at night"`, or add `{common} "a field"`',
            )
    return texts


def _checked(key: str, value: object, source: str) -> Prompt:
    checked = check_value(GenerateConfig, key, value, source)
    assert not isinstance(checked, Mapping)
    return checked  # type: ignore[return-value]  # what the schema says
