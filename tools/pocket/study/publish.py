"""Write the page, the report it is made from, and its pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.pocket.records import write_json
from tools.pocket.study.page import page
from tools.pocket.study.sheets import draw_sheets

PAGE, REPORT, MEDIA = "pocket-study.md", "pocket-study.json", Path("media/study")


def publish(report: Mapping[str, Any], work: Path, docs: Path) -> list[Path]:
    """Write everything below `docs`; returns the files."""
    sheets = list(draw_sheets(work, docs / MEDIA))
    told = {**report, "sheets": [sheet.name for sheet in sheets]}
    write_json(docs / REPORT, told)
    unfinished = (docs / PAGE).with_suffix(".part")
    unfinished.write_text(page(told), encoding="utf-8")
    unfinished.replace(docs / PAGE)
    return [docs / PAGE, docs / REPORT, *sheets]
