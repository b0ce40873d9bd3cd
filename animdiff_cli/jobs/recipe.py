"""What every output carries: enough to render the same frames again."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from animdiff_cli.config.schema import GenerateConfig

Recipe = dict[str, Any]
WeightHashes = Mapping[str, Mapping[str, str]]  # part, then file to sha256

#: packages whose version can change a pixel
PACKAGES = ("animdiff", "torch", "diffusers", "transformers")
#: parts of a recipe's weights, named like the setting that chooses them
PARTS = ("model", "motion_module", "motion_loras", "loras", "domain_adapter", "vae", "embeddings")


def make_recipe(config: GenerateConfig, weights: WeightHashes, device: str) -> Recipe:
    """Describe a render. Holds no clock and no machine name: the same frames carry the same recipe."""
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    return {
        "config": config.model_dump(mode="json"),
        "weights": {part: dict(files) for part, files in weights.items()},
        "device": device,
        "versions": versions,
    }


def differing_weights(recipe: Mapping[str, Any], weights: WeightHashes, config: GenerateConfig) -> list[str]:
    """Name the weight files whose hash is not the one a recipe recorded, or that are on one side only.

    Parts for which `config` names other weights than the recipe differ because somebody wanted it: left out.
    """
    recorded, present = _flat(recipe.get("weights", {})), _flat(weights)
    now = config.model_dump(mode="json")
    meant = {part for part in PARTS if (recipe["config"].get(part) or None) == (now[part] or None)}
    names = {name for name in recorded.keys() | present.keys() if name.partition("/")[0] in meant}
    return sorted(name for name in names if recorded.get(name) != present.get(name))


def _flat(weights: WeightHashes) -> dict[str, str]:
    return {f"{part}/{name}": digest for part, files in weights.items() for name, digest in files.items()}
