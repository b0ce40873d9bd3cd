"""Textual inversions in prompts: loaded by `embedding:NAME` as in ComfyUI, refused where no prompt uses them."""

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

from animdiff_cli.config.layers import Resolved
from animdiff_cli.config.load import flag_name
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.embedding_words import contains_word, embedding_names
from animdiff_cli.core.prompt_travel import texts_of
from animdiff_cli.core.refs import ModelRef, parse_ref
from animdiff_cli.core.seeds import Job
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.jobs.prompts import effective_texts, region_texts
from animdiff_cli.registry.store import locate

ORIGIN = "`embedding:` in a prompt"


def with_named_embeddings(resolved: Resolved[GenerateConfig], jobs: Sequence[Job]) -> Resolved[GenerateConfig]:
    """Add the embeddings that prompts reference as `embedding:NAME` to the setting `embeddings`, and so to the recipe.

    An embedding that is listed already is not added.
    """
    texts = [text for job in jobs for prompt in (job.prompt, job.negative) for text in texts_of(prompt)]
    regions = resolved.values["regions"]
    assert isinstance(regions, tuple)
    texts += region_texts(regions)
    listed = resolved.values["embeddings"]
    assert isinstance(listed, tuple)
    words = {_word(text) for text in listed}
    named = [name for name in embedding_names(texts) if name.lower() not in words]
    if not named:
        return resolved
    values = MappingProxyType({**resolved.values, "embeddings": (*listed, *named)})
    return replace(resolved, values=values, origins=MappingProxyType({**resolved.origins, "embeddings": ORIGIN}))


def reject_unused_embeddings(resolved: Resolved[GenerateConfig], configs: Sequence[GenerateConfig]) -> None:
    """Raise `UsageError` for `--embedding` whose word is in no prompt. Presets may list embeddings for later use."""
    if resolved.origins["embeddings"] != flag_name("embeddings"):
        return
    prompts = [prompt for config in configs for prompt in effective_texts(config)]
    for text in configs[0].embeddings:
        word = _located_word(parse_ref(text))
        if word and not any(contains_word(prompt, word) for prompt in prompts):
            raise UsageError(
                f"`{word}` is in no prompt, so `--embedding {text}` has no effect",
                hint=f"write `{word}` into `--prompt` or `--negative`",
            )


def _located_word(ref: ModelRef) -> str | None:
    """Return the word of an embedding, the stem of its file; None while it is not on this machine."""
    try:
        return locate(ref, "embedding").path.stem
    except NotFound:
        return None


def _word(text: str) -> str:
    """Return the word of an embedding by its reference alone, in lower case."""
    ref = parse_ref(text)
    name = (ref.file or ref.target).rpartition("/")[2]
    return (name if ref.source == "alias" else name.rpartition(".")[0] or name).lower()
