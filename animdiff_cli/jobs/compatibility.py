"""Whether aliases go together, told by the catalog alone: before anything is fetched."""

from collections.abc import Mapping

from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.missing_weights import KINDS, named_refs
from animdiff_cli.registry.catalog import CatalogEntry, load_catalog
from animdiff_cli.weights.kind_checks import IN_WORDS

#: families of motion modules without a mid block, which the v2 MotionLoRAs change
WITHOUT_MIDDLE = ("v1", "v3", "sdxl", "hotshot")


def check_entries(settings: Mapping[str, object]) -> None:
    """Raise `UsageError` for aliases of different bases, a MotionLoRA on the wrong module, or a PIA module.

    What is no alias, or one's own for a file that is here, has its base checked by its contents: a miniature of one's
    own looks like sd15 until it is held against the model.
    """
    found = {setting: _entries(settings, setting) for setting in KINDS}
    for model in found["model"]:
        for entry in (entry for setting in KINDS for entry in found[setting]):
            _check_base(entry, model)
    for module in found["motion_module"]:
        if module.version == "pia":
            raise UsageError(
                f"`{module.alias}` moves a given picture, which this version cannot render",
                hint="use a module that renders from a prompt: `--motion-module mm-v3`",
            )
        for lora in found["motion_loras"]:
            _check_motion_lora(lora, module)


def _check_base(entry: CatalogEntry, model: CatalogEntry) -> None:
    if entry.base != model.base and not (entry.path or model.path):
        kind = IN_WORDS[entry.kind]
        raise UsageError(
            f"`{entry.alias}` is {kind} for {entry.base}, and the image model `{model.alias}` is {model.base}",
            hint=f"choose one that was made for {model.base}: `animdiff models list --kind {entry.kind}`",
        )


def _check_motion_lora(lora: CatalogEntry, module: CatalogEntry) -> None:
    if lora.version == "v2" and module.version in WITHOUT_MIDDLE:
        raise UsageError(
            f"`{lora.alias}` was made for a v2 motion module: it changes the mid block, which `{module.alias}`"
            f" ({module.version}) does not have",
            hint="use it with a v2 module: `--motion-module mm-v2`",
        )


def _entries(settings: Mapping[str, object], setting: str) -> list[CatalogEntry]:
    aliases = (ref.target for ref in named_refs(settings, setting) if ref.source == "alias")
    return [load_catalog().find(alias) for alias in aliases if alias in load_catalog()]
