"""Settings of a training run: the layers of `config.layers` over the defaults of a stage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from animdiff_cli.config.layers import Layer, Resolved, resolve
from animdiff_cli.config.train_config import STAGE_DEFAULTS, TrainConfig
from animdiff_cli.config.yamlfile import read_mapping
from animdiff_cli.core.choices import Stage
from animdiff_cli.errors import UsageError

#: the command that trains each stage
COMMANDS: Mapping[object, str] = MappingProxyType(
    {
        "motion-lora": "animdiff train-lora",
        "domain-adapter": "animdiff train-adapter",
        "motion-module": "animdiff train-motion",
    }
)


def resolve_training(stage: Stage, layers: Sequence[Layer]) -> Resolved[TrainConfig]:
    """Merge layers, lowest first, over the defaults of `stage`.

    Every value is checked, also one that is replaced later. Raises `UsageError` naming its origin, for an unknown
    stage or a missing setting, and for settings that contradict the stage or each other.
    """
    if stage not in STAGE_DEFAULTS:
        raise UsageError(f"unknown stage `{stage}`", hint=f"one of {', '.join(STAGE_DEFAULTS)}")
    defaults = Layer(f"default of {stage}", {"stage": stage, **STAGE_DEFAULTS[stage]})
    resolved = resolve(TrainConfig, (defaults, *layers))
    named = resolved.values["stage"]
    if named != stage:
        raise UsageError(
            f"{resolved.origins['stage']} describes a {named}, not a {stage}", hint=f"use `{COMMANDS[named]}`"
        )
    if resolved.values["as_lora"] and stage != "domain-adapter":
        raise UsageError(
            f"{resolved.origins['as_lora']}: `as_lora` has no effect on a {stage}: only a domain adapter can be saved"
            " as an ordinary LoRA",
            hint=f"leave `as_lora` out, or train with `{COMMANDS['domain-adapter']} --as-lora`",
        )
    resolved.build()  # refuses what is missing or contradicts itself before anything is located
    return resolved


def file_layer(path: Path) -> Layer:
    """Read a YAML file of settings. Raises `NotFound` or `UsageError`."""
    return Layer(str(path), read_mapping(path))
