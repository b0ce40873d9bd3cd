"""The recipe in every output: enough to render the same frames again."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.values import check_value
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS, chosen_weights
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.inputs import without_folders

Recipe = dict[str, Any]
WeightHashes = Mapping[str, Mapping[str, str]]  # setting that names the weights, then file name to sha256

#: settings that every recipe contains; others are left out while they have their default
ALWAYS_RECORDED = frozenset(
    (
        "prompt",
        "negative_prompt",
        "model",
        "motion_module",
        "motion_version",
        "motion_loras",
        "loras",
        "lora_alpha_mode",
        "domain_adapter",
        "vae",
        "embeddings",
        "seed",
        "steps",
        "guidance_scale",
        "scheduler",
        "beta_schedule",
        "beta_end",
        "timestep_spacing",
        "num_frames",
        "fps",
        "width",
        "height",
        "clip_skip",
        "dtype",
    )
)
#: packages whose version can change a pixel
PACKAGES = ("animdiff", "torch", "diffusers", "transformers")


def make_recipe(
    config: GenerateConfig,
    weights: WeightHashes,
    device: str,
    inputs: WeightHashes | None = None,
    low_vram: str | None = None,
    cpu_arithmetic: str | None = None,
) -> Recipe:
    """Describe a render. Contains no time and no machine name: the same frames carry the same recipe.

    `inputs` are the hashes of files that are read beside the weights, by setting; `low_vram` is what was done to save
    memory. `cpu_arithmetic` is `avx512`, `avx2` or `torch`, whose frames differ by rounding.
    """
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    return {
        "config": recorded_settings(config),
        "weights": {key: dict(files) for key, files in weights.items()},
        **({"inputs": {key: dict(files) for key, files in inputs.items()}} if inputs else {}),
        "device": device,
        **({"low_vram": low_vram} if low_vram else {}),
        **({"cpu_arithmetic": cpu_arithmetic} if cpu_arithmetic else {}),
        "versions": versions,
    }


def recorded_settings(config: GenerateConfig) -> dict[str, Any]:
    """Return the settings that a recipe contains, as JSON values.

    `low_vram` changes no frame and is no part of it: the recipe says beside the settings what was done.
    """
    settings = without_folders(config.model_dump(mode="json"))
    changed = config.model_dump(mode="json", exclude_defaults=True, exclude={"low_vram"})
    return {key: value for key, value in settings.items() if key in ALWAYS_RECORDED or key in changed}


def check_recipe(recipe: Mapping[str, Any], source: str) -> Recipe:
    """Check the structure of an untrusted recipe. Its settings are checked together with all other layers.

    Raises `UsageError` naming the part that is not what `make_recipe` writes.
    """
    hashes = [recipe.get(part, {}) for part in ("weights", "inputs")]
    of_dicts = all(
        isinstance(part, dict) and all(isinstance(files, dict) for files in part.values()) for part in hashes
    )
    if not isinstance(recipe.get("config"), dict) or not recipe["config"]:
        raise UsageError(f"the recipe in {source} has no settings", hint="give a clip that animdiff rendered")
    if not of_dicts or not all(isinstance(digest, str) for part in hashes for digest in _flat(part).values()):
        raise UsageError(
            f"the recipe in {source} is damaged: `weights` and `inputs` must hold the sha256 of each file by setting",
            hint="give the file as animdiff wrote it",
        )
    return dict(recipe)


def differing_weights(recipe: Mapping[str, Any], weights: WeightHashes, config: GenerateConfig) -> list[str]:
    """List the weight files whose hash is not the recorded one, or that are on one side only.

    Settings for which `config` names other weights than the recipe differ on purpose and are left out.
    """
    recorded, present = _flat(recipe.get("weights", {})), _flat(weights)
    before = {
        key: check_value(GenerateConfig, key, value, "recipe") if value else None  # a record may stand for its text
        for key, value in recipe["config"].items()
        if key in WEIGHT_SETTINGS
    }
    now = {key: getattr(config, key) or None for key in WEIGHT_SETTINGS}
    same = {key for key in now if chosen_weights(key, before.get(key)) == chosen_weights(key, now[key])}
    names = {name for name in recorded.keys() | present.keys() if name.partition("/")[0] in same}
    return sorted(name for name in names if recorded.get(name) != present.get(name))


def _flat(weights: WeightHashes) -> dict[str, str]:
    return {f"{key}/{name}": digest for key, files in weights.items() for name, digest in files.items()}
