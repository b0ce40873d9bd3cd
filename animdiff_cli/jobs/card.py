"""All that is known of one set of weights: the catalog's word, the receipt's, and what the file itself tells."""

from dataclasses import dataclass
from typing import Any

from animdiff_cli.errors import AnimdiffError
from animdiff_cli.fetch.items import requirements
from animdiff_cli.fetch.receipt import Receipt, read_receipt
from animdiff_cli.jobs.inventory import Model, find_model
from animdiff_cli.registry.store import is_here
from animdiff_cli.weights.identify import identify
from animdiff_cli.weights.info import WeightsInfo


@dataclass(frozen=True, slots=True)
class Card:
    """What `animdiff models show` prints."""

    model: Model
    receipt: Receipt | None  # of what was fetched, or recorded
    info: WeightsInfo | None  # None where it is not here, or nobody knows what it is
    needs: tuple[tuple[str, bool], ...]  # alias, and whether it is here

    @property
    def sha256(self) -> str | None:
        """The hash it should have: the catalog's, else the recorded one."""
        entry = self.model.entry
        return (entry.sha256 if entry else None) or (self.receipt.sha256 if self.receipt else None)

    def record(self) -> dict[str, Any]:
        """List what is known, for JSON."""
        entry, receipt = self.model.entry, self.receipt
        return {
            **self.model.record(),
            "sha256": self.sha256,
            "sources": list(entry.sources) if entry else [receipt.source] if receipt else [],
            "revision": receipt.revision if receipt else None,
            "fetched": receipt.date if receipt else None,
            "requires": [alias for alias, _ in self.needs],
            "trigger_words": list(self.model.said.trigger_words),
            "recommended": dict(self.model.said.recommended),
            "inside": self.info.record() if self.info else None,
        }


def card_of(name: str) -> Card:
    """Gather all that is known of whatever `name` names. Raises NotFound for what nobody knows."""
    model = find_model(name)
    needs = requirements(model.entry) if model.entry else ()
    receipt = read_receipt(model.path) if model.path else None
    return Card(model, receipt, _info(model), tuple((entry.alias, is_here(entry)) for entry in needs))


def _info(model: Model) -> WeightsInfo | None:
    if model.path is None:
        return None
    try:
        return identify(model.path)
    except AnimdiffError:  # `model.problem` says why, or `inspect` does
        return None
