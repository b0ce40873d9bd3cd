"""Recommended settings: what the chosen weights are best used with, as layers below the user's own."""

from collections.abc import Sequence

from animdiff_cli.config.layers import Layer
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.registry.catalog import CatalogEntry, load_catalog


def with_recommended(layers: Sequence[Layer]) -> list[Layer]:
    """Put the settings that the chosen image model, LoRAs and motion module recommend below `layers`.

    Those of a LoRA come above the image model's, and the motion module's above both: a module of four steps needs its
    own sampler whatever it is plugged into. The image model may recommend the motion module itself. What is no
    alias, or an alias nobody knows, recommends nothing here; looking it up says so later.
    """
    model = _entry(_chosen(layers, "model"))
    lowest = [_layer(model)] if model else []
    module = _entry(_chosen([*lowest, *layers], "motion_module"))
    own = [_layer(module)] if module else []
    for lora in _entries(_chosen([*lowest, *own, *layers], "loras")):
        lowest.append(_layer(lora))
    lowest += own
    return [*lowest, *layers]


def _chosen(layers: Sequence[Layer], key: str) -> object:
    given = [layer.values[key] for layer in layers if key in layer.values]
    return given[-1] if given else None


def _entry(name: object) -> CatalogEntry | None:
    if not isinstance(name, str) or name.lower() not in load_catalog():
        return None
    ref = parse_ref(name)
    return load_catalog().find(ref.target) if ref.source == "alias" else None


def _entries(names: object) -> list[CatalogEntry]:
    """Look up a list of references that may end in @scale."""
    texts = [names] if isinstance(names, str) else names if isinstance(names, (list, tuple)) else []
    aliases = (text.partition("@")[0] for text in texts if isinstance(text, str))
    found = (_entry(alias) for alias in aliases)
    return [entry for entry in found if entry]


def _layer(entry: CatalogEntry) -> Layer:
    return Layer(f"recommended for `{entry.alias}`", entry.recommended)
