"""Settings that the files of an image model decide, as a layer below the user's own."""

from collections.abc import Sequence
from pathlib import Path

from animdiff_cli.config.layers import Layer
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.diffusion.source import open_model
from animdiff_cli.errors import NotFound
from animdiff_cli.registry.store import locate


def prediction_layer(model: Path) -> Layer:
    """Return what the UNet of a located model predicts, and whether its noise schedule ends in pure noise."""
    return Layer(f"image model {model.name}", open_model(model).prediction())


def with_prediction(layers: Sequence[Layer]) -> list[Layer]:
    """Add the layer of the image model that the highest of `layers` names, if it is on this machine."""
    named = [layer.values["model"] for layer in layers if "model" in layer.values]
    if not named or not isinstance(named[-1], str):
        return list(layers)
    try:
        model = locate(parse_ref(named[-1]), "base").path
    except NotFound:
        return list(layers)
    return [prediction_layer(model), *layers]
