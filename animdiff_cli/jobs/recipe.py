"""The recipe in every output: enough to render the same frames again."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS

Recipe = dict[str, Any]
WeightHashes = Mapping[str, Mapping[str, str]]  # setting that names the weights, then file name to sha256

#: packages whose version can change a pixel
PACKAGES = ("animdiff", "torch", "diffusers", "transformers")


def make_recipe(config: GenerateConfig, weights: WeightHashes, device: str) -> Recipe:
    """Describe a render. Contains no time and no machine name: the same frames carry the same recipe."""
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    return {
        "config": config.model_dump(mode="json"),
        "weights": {key: dict(files) for key, files in weights.items()},
        "device": device,
        "versions": versions,
    }


def differing_weights(recipe: Mapping[str, Any], weights: WeightHashes, config: GenerateConfig) -> list[str]:
    """List the weight files whose hash is not the recorded one, or that are on one side only.

    Settings for which `config` names other weights than the recipe differ on purpose and are left out.
    """
    recorded, present = _flat(recipe.get("weights", {})), _flat(weights)
    now = config.model_dump(mode="json")
    same = {key for key in WEIGHT_SETTINGS if (recipe["config"].get(key) or None) == (now[key] or None)}
    names = {name for name in recorded.keys() | present.keys() if name.partition("/")[0] in same}
    return sorted(name for name in names if recorded.get(name) != present.get(name))


def _flat(weights: WeightHashes) -> dict[str, str]:
    return {f"{key}/{name}": digest for key, files in weights.items() for name, digest in files.items()}
