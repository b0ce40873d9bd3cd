"""What the catalog alone says about aliases: whether they fit together, and what they are used with."""

from collections.abc import Mapping
from typing import cast

from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.core.windows import too_long
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.missing_weights import refs_of
from animdiff_cli.motion.spec import TRAITS
from animdiff_cli.registry.catalog import CatalogEntry, load_catalog
from animdiff_cli.weights.kind_checks import IN_WORDS
from animdiff_cli.weights.motion_version import ARCHITECTURES

#: families of motion modules without a mid block, which v2 MotionLoRAs change
WITHOUT_MID_BLOCK = ("v1", "v3", "sdxl", "hotshot", "pia")


def check_compatibility(settings: Mapping[str, object]) -> None:
    """Raise `UsageError` for aliases of different bases, a MotionLoRA on the wrong module, or too long a window.

    Also for a motion scale without a motion module.

    Files, and the user's own aliases for files, are left out: their base is checked later by their contents.
    """
    if settings["motion_module"] is None and settings["motion_scale"] != 1:
        raise UsageError(
            "a motion scale has no effect on still frames",
            hint="leave out `--motion-scale`, or `--no-motion`",
        )
    found = {key: _entries(settings, key) for key in WEIGHT_SETTINGS}
    for model in found["model"]:
        for entry in (entry for entries in found.values() for entry in entries):
            _check_base(entry, model)
    for module in found["motion_module"]:
        _check_windows(settings, module)
        for lora in found["motion_loras"]:
            _check_motion_lora(lora, module)


def missing_companion_loras(settings: Mapping[str, object]) -> list[str]:
    """Return a note for each LoRA that the motion module is meant for and a user's own list of LoRAs leaves out."""
    given = {ref.target for ref in refs_of(settings, "loras")}
    return [
        f"{module.alias} is meant to be used with the LoRA `{lora}`, which your own `loras` replace:"
        f" add `--lora {lora}` to keep it"
        for module in _entries(settings, "motion_module")
        for lora in cast("tuple[str, ...]", module.recommended.get("loras", ()))
        if parse_ref(lora, scaled=True).target not in given
    ]


def _check_base(entry: CatalogEntry, model: CatalogEntry) -> None:
    fits_any = entry.kind in ("image-encoder", "preprocessor") or bool(entry.path or model.path)
    if entry.base != model.base and not fits_any:
        kind = IN_WORDS[entry.kind]
        raise UsageError(
            f"`{entry.alias}` is {kind} for {entry.base}, and the image model `{model.alias}` is {model.base}",
            hint=f"choose one that was made for {model.base}: `animdiff models list --kind {entry.kind}`",
        )


def _check_windows(settings: Mapping[str, object], module: CatalogEntry) -> None:
    """Raise `UsageError` for context windows that are longer than the module's, before it is downloaded."""
    version = ARCHITECTURES.get(module.version) if module.version and module.version != "long" else None
    most = module.max_frames or (TRAITS[version].max_frames if version else None)
    length = settings["context_length"]
    if module.sources and most and isinstance(length, int) and length > most:
        raise too_long(length, most, f"`{module.alias}`")


def _check_motion_lora(lora: CatalogEntry, module: CatalogEntry) -> None:
    if lora.version == "v2" and module.version in WITHOUT_MID_BLOCK:
        raise UsageError(
            f"`{lora.alias}` was made for a v2 motion module: it changes the mid block, which `{module.alias}`"
            f" ({module.version}) does not have",
            hint="use it with a v2 module: `--motion-module mm-v2`",
        )


def _entries(settings: Mapping[str, object], key: str) -> list[CatalogEntry]:
    aliases = (ref.target for ref in refs_of(settings, key) if ref.source == "alias")
    return [load_catalog().find(alias) for alias in aliases if alias in load_catalog()]
