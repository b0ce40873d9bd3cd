"""Weights in words: the table of `models list`, the card of `models show`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from animdiff_cli.jobs.card import Card
    from animdiff_cli.jobs.inventory import Model

HEADER = ("NAME", "KIND", "BASE", "SIZE", "WHERE")
PLACES = {"bundled": "bundled", "store": "here", "hub-cache": "Hub cache", None: "not here"}
#: what a card says of the file's content; the rest is for `animdiff inspect`
INSIDE = ("format", "dtype", "parameters", "rank", "max_frames", "container")

Section = tuple[str, list[tuple[str, str]]]


def table(models: "Sequence[Model]") -> Iterator[str]:
    """Lay models out in columns; nothing is cut off, so that every name can be copied."""
    rows = [HEADER, *(_row(model) for model in models)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for name, kind, base, size, where in rows:
        yield f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {base:<{widths[2]}}  {size:>{widths[3]}}  {where}"


def card_lines(card: "Card") -> Iterator[str]:
    """Lay a card out in sections, each line a label and what it says."""
    model = card.model
    yield model.name
    if model.said.description:
        yield f"  {model.said.description}"
    sections = (_model(card), _file(card), _inside(card), _recommended(card), _needs(card))
    width = max(len(label) for _, lines in sections for label, _ in lines)
    for title, lines in sections:
        if lines:
            yield ""
            yield f"  {title}"
            yield from (f"    {label:<{width}}  {text}" for label, text in lines)


def _row(model: "Model") -> tuple[str, str, str, str, str]:
    where = PLACES.get(model.where) or str(model.path and model.path.parent)
    return model.name, model.kind or "?", model.base or "?", _size(model.bytes), where


def _size(size: int | None) -> str:
    from animdiff_cli.fetch.disk import in_words

    return "?" if size is None else in_words(size)


def _model(card: "Card") -> Section:
    model = card.model
    told = {
        "also called": ", ".join(model.entry.aliases) if model.entry else "",
        "kind": model.kind,
        "base": model.base,
        "version": model.version or (card.info.version if card.info else None),
        "license": model.said.license,
        "trigger words": ", ".join(model.said.trigger_words),
        "problem": model.problem,
    }
    return "Model", [(label, text) for label, text in told.items() if text]


def _file(card: "Card") -> Section:
    model, receipt = card.model, card.receipt
    lines = [("path", str(model.path) if model.path else f"not here: `animdiff fetch {model.name}`")]
    if model.bytes is not None:
        lines.append(("size", _size(model.bytes)))
    if card.sha256:
        lines.append(("sha256", card.sha256))
    sources = list(model.entry.sources) if model.entry else []
    lines += [("from", source) for source in sources or ([receipt.source] if receipt else [])]
    if receipt:
        lines.append(("since", receipt.date))
    return "File", lines


def _inside(card: "Card") -> Section:
    record = card.info.record() if card.info else {}
    found = [(key.replace("_", " "), record[key]) for key in INSIDE if record.get(key) is not None]
    return "Inside", [(label, f"{value:,}" if isinstance(value, int) else str(value)) for label, value in found]


def _recommended(card: "Card") -> Section:
    settings = card.model.said.recommended.items()
    return "Recommended", [(key, f"{value:g}" if isinstance(value, float) else str(value)) for key, value in settings]


def _needs(card: "Card") -> Section:
    state = {True: "here", False: "not here"}
    return "Needs", [(alias, state[is_here]) for alias, is_here in card.needs]
