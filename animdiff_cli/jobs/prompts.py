"""Check the prompts of clips before weights load."""

from collections.abc import Iterable

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.prompt_syntax import unsupported_syntax
from animdiff_cli.core.prompt_weights import parse_weights


def effective_prompts(config: GenerateConfig) -> list[str]:
    """List the prompts that are encoded: the negative one only with guidance."""
    return [config.prompt, *([config.negative_prompt] if config.has_guidance else [])]


def check_prompts(configs: Iterable[GenerateConfig]) -> tuple[str, ...]:
    """Check the prompts that are encoded. Returns a note for each kind of syntax in them that is not supported.

    Raises `UsageError` for a weight out of range, or a prompt that compel cannot parse.
    """
    notes: dict[str, None] = {}
    for config in configs:
        prompts = effective_prompts(config)
        for prompt in prompts:
            if config.prompt_syntax == "a1111":
                parse_weights(prompt)
            elif config.prompt_syntax == "compel":
                from animdiff_cli.diffusion.compel_text import parse_compel

                parse_compel(prompt)
        notes |= dict.fromkeys(unsupported_syntax(prompts, config.prompt_syntax))
    return tuple(notes)
