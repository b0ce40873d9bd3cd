"""Textual inversions that a prompt names itself: `embedding:NAME`, as ComfyUI writes it."""

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

from animdiff_cli.config.layers import Resolved
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.embedding_words import embedding_names
from animdiff_cli.core.refs import parse_ref

ORIGIN = "`embedding:` in a prompt"


def with_named_embeddings(resolved: Resolved[GenerateConfig], prompts: Sequence[str]) -> Resolved[GenerateConfig]:
    """Add to the settings what prompts call by `embedding:NAME` and the settings do not list yet.

    The recipe then lists it like any other, so that the clip can be rendered again.
    """
    own = [resolved.values.get("prompt"), resolved.values.get("negative_prompt")]
    texts = [*prompts, *(text for text in own if isinstance(text, str))]
    listed = resolved.values["embeddings"]
    assert isinstance(listed, tuple)
    words = {_word(text) for text in listed}
    named = [name for name in embedding_names(texts) if name.lower() not in words]
    if not named:
        return resolved
    values = MappingProxyType({**resolved.values, "embeddings": (*listed, *named)})
    return replace(resolved, values=values, origins=MappingProxyType({**resolved.origins, "embeddings": ORIGIN}))


def _word(text: str) -> str:
    """Tell the word of an embedding as it was referred to."""
    ref = parse_ref(text)
    name = (ref.file or ref.target).rpartition("/")[2]
    return (name if ref.source == "alias" else name.rpartition(".")[0] or name).lower()
