"""Recommended settings: what the chosen weights are best used with, as layers below the user's own."""

from collections.abc import Sequence

from animdiff_cli.config.layers import Layer
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import AnimdiffError
from animdiff_cli.registry.catalog import Kind, load_catalog
from animdiff_cli.registry.metadata import read_metadata
from animdiff_cli.registry.store import locate


def with_recommended(layers: Sequence[Layer]) -> list[Layer]:
    """Put the settings that the chosen image model, LoRAs and motion module recommend below `layers`.

    Those of a LoRA come above the image model's, and the motion module's above both: a module of four steps needs its
    own sampler whatever it is plugged into. The image model may recommend the motion module itself. What the catalog
    does not know may say so in its sidecar. What is not here recommends nothing; looking it up says so later.
    """
    model = _layers(_chosen(layers, "model"), "base")
    module = _layers(_chosen([*model, *layers], "motion_module"), "motion-module")
    named = _names(_chosen([*model, *module, *layers], "loras"))
    loras = [layer for name in named for layer in _layers(name, "lora")]
    return [*model, *loras, *module, *layers]


def _chosen(layers: Sequence[Layer], key: str) -> object:
    given = [layer.values[key] for layer in layers if key in layer.values]
    return given[-1] if given else None


def _names(references: object) -> list[str]:
    """Take the scales off a list of references that may end in @scale."""
    texts = [references] if isinstance(references, str) else references
    if not isinstance(texts, (list, tuple)):
        return []
    return [text.partition("@")[0] for text in texts if isinstance(text, str)]


def _layers(name: object, kind: Kind) -> list[Layer]:
    """Make a layer of what the weights of this name recommend; none where they recommend nothing."""
    if not isinstance(name, str):
        return []
    if name.lower() in load_catalog():
        entry = load_catalog().find(name)
        return [Layer(f"recommended for `{entry.alias}`", entry.recommended)]
    try:
        path = locate(parse_ref(name), kind).path
    except AnimdiffError:
        return []
    recommended = read_metadata(path).recommended
    return [Layer(f"recommended for `{name}`", recommended)] if recommended else []
