"""Settings that would do nothing in this render: refused where a flag asked for them, told where a layer did."""

from collections.abc import Sequence

from animdiff_cli.config.layers import Resolved
from animdiff_cli.config.load import flag_name
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.embedding_words import contains_word
from animdiff_cli.core.refs import ModelRef, parse_ref
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.registry.catalog import CatalogEntry, load_catalog
from animdiff_cli.registry.store import locate


def reject_unused_flags(resolved: Resolved[GenerateConfig]) -> None:
    """Refuse `--negative` where guidance is off: it would change nothing. In a preset it may wait for guidance."""
    flag = flag_name("negative_prompt")
    guidance = resolved.values["guidance_scale"]
    if resolved.origins["negative_prompt"] == flag and isinstance(guidance, float) and guidance <= 1:
        raise UsageError(
            f"`{flag}` has no effect at a guidance scale of {guidance:g}",
            hint=f"raise `--guidance-scale` above 1, or leave `{flag}` out",
        )


def reject_unused_embeddings(resolved: Resolved[GenerateConfig], configs: Sequence[GenerateConfig]) -> None:
    """Refuse `--embedding` whose word stands in no prompt that is read. In a preset it may wait for one."""
    if resolved.origins["embeddings"] != flag_name("embeddings"):
        return
    for text in configs[0].embeddings:
        word = locate_word(parse_ref(text))
        if word and not any(contains_word(prompt, word) for config in configs for prompt in _read_prompts(config)):
            raise UsageError(
                f"`{word}` stands in no prompt, so `--embedding {text}` has no effect",
                hint=f"write `{word}` into `--prompt` or `--negative`",
            )


def locate_word(ref: ModelRef) -> str | None:
    """Tell the word an embedding stands for, the stem of its file; None while it is not on this machine."""
    try:
        return locate(ref, "embedding").path.stem
    except NotFound:
        return None


def missing_companion_loras(config: GenerateConfig) -> list[str]:
    """Say which LoRA a motion module was made to go with, where a list of one's own replaced it."""
    module = _entry(config.motion_module)
    recommended = module.recommended.get("loras", ()) if module else ()
    given = {parse_ref(text, scaled=True).target for text in config.loras}
    assert isinstance(recommended, (list, tuple))
    return [
        f"{config.motion_module} was made to go with the LoRA `{text}`, which your own list replaces:"
        f" add `--lora {text}` to keep it"
        for text in recommended
        if parse_ref(text, scaled=True).target not in given
    ]


def _read_prompts(config: GenerateConfig) -> list[str]:
    return [config.prompt, *([config.negative_prompt] if config.guidance_scale > 1 else [])]


def _entry(name: str | None) -> CatalogEntry | None:
    ref = parse_ref(name) if name else None
    known = ref is not None and ref.source == "alias" and ref.target in load_catalog()
    return load_catalog().find(ref.target) if ref and known else None
