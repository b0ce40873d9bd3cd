"""Notes on weights and regions that have no effect, or that are given twice."""

import re
from collections import Counter
from typing import Any

from animdiff_cli.config.input_settings import RegionEntry, SteeredEntry
from animdiff_cli.config.layers import Resolved
from animdiff_cli.config.load import how_to_set
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.settings import TextRecord
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS
from animdiff_cli.core.text import number_of_times


def weight_notes(config: GenerateConfig, resolved: Resolved[GenerateConfig]) -> list[str]:
    """Say which scales and weights are 0, and what is given more than once and so counts more than once.

    Also which prompt of a region ends like a scale. `resolved` knows how it was given.
    """
    kept = {key: setting for key, setting in WEIGHT_SETTINGS.items() if setting.record}
    notes = [
        note
        for key, setting in kept.items()
        for note in _notes(setting.label or setting.kind.replace("-", " "), setting.record, getattr(config, key))
    ]
    for number, entry in enumerate(map(RegionEntry.read, config.regions)):
        if isinstance(entry.prompt, str) and (weight := re.search(r"@(\d*\.?\d+)\Z", entry.prompt)):
            way = how_to_set(resolved, f"regions.{number}", "weight", weight[1])
            notes.append(f"`{entry.prompt}` is the whole prompt of a region: its weight is set by `{way}`")
    return notes + _notes("region", RegionEntry, config.regions)


def _notes(noun: str, record: type[TextRecord] | None, value: Any) -> list[str]:
    assert record is not None
    amount = "weight" if record is RegionEntry else "scale"
    entries = [record.read(entry) for entry in (value if isinstance(value, tuple) else (value,)) if entry]
    notes = [
        f"{noun} `{_name(entry)}` has no effect: its {amount} is 0"
        for entry in dict.fromkeys(entries)
        if getattr(entry, amount) == 0
    ]
    for entry, count in Counter(entry.model_copy(update={amount: 1.0}) for entry in entries).items():
        if count > 1:
            times = number_of_times(count)
            notes.append(f"{noun} `{_name(entry)}` is given {times}, and is applied {times}")
    return notes


def _name(entry: Any) -> str:
    if isinstance(entry, RegionEntry):
        return f"{entry.source}={entry.prompt}"
    return f"{entry.ref}={entry.source}" if isinstance(entry, SteeredEntry) else str(entry.ref)
