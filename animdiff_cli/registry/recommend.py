"""Settings that the chosen weights recommend, as layers below the user's own."""

from collections.abc import Sequence

from animdiff_cli.config.layers import Layer
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS, refs_in
from animdiff_cli.core.choices import Kind
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import AnimdiffError
from animdiff_cli.registry.catalog import CatalogEntry, load_catalog
from animdiff_cli.registry.metadata import read_metadata
from animdiff_cli.registry.store import locate


def with_recommended(layers: Sequence[Layer]) -> list[Layer]:
    """Add what the chosen image model, controls, image prompts, LoRAs and motion module recommend, below `layers`.

    Lowest first: image model, controls, image prompts, LoRAs, motion module, because a distilled motion module needs
    its own sampler with every image model. The image model may recommend the motion module itself. Recommendations of
    files that are not in the catalog are read from their metadata files. Weights that are not on this machine
    recommend nothing.
    """
    model = _recommended(layers, "model")
    controls = _recommended([*model, *layers], "controls")
    module = _recommended([*model, *controls, *layers], "motion_module")
    loras = _recommended([*model, *controls, *module, *layers], "loras")
    pictures = _recommended(layers, "image_prompts")
    return [*model, *controls, *pictures, *loras, *module, *layers]


def _recommended(layers: Sequence[Layer], key: str) -> list[Layer]:
    """List what the weights that `key` names in the highest layer recommend, a layer for each."""
    given = [layer.values[key] for layer in layers if key in layer.values]
    setting = WEIGHT_SETTINGS[key]
    named = refs_in(setting, given[-1]) if given else []
    return [layer for name in named for layer in _layers(name, setting.kinds)]


def _entry_of(name: str) -> CatalogEntry | None:
    """Return the catalog entry with this alias or download source."""
    catalog = load_catalog()
    if name in catalog:
        return catalog.find(name)
    return next((entry for entry in catalog.entries if name in entry.sources), None)


def _layers(name: str, kinds: tuple[Kind, ...]) -> list[Layer]:
    """Return the settings that one set of weights recommends, as a layer; empty if none."""
    if entry := _entry_of(name):
        return [Layer(f"recommended for `{entry.alias}`", entry.recommended)]
    try:
        path = locate(parse_ref(name), *kinds).path
    except AnimdiffError:
        return []
    recommended = read_metadata(path).recommended
    return [Layer(f"recommended for `{name}`", recommended)] if recommended else []
