"""Write the page, its report and its images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.pocket.report import write_json
from tools.pocket.study.contact_sheets import draw_sheets
from tools.pocket.study.page import page

PAGE, REPORT, MEDIA = "pocket-study.md", "pocket-study.json", Path("media/study")


def publish(report: Mapping[str, Any], work: Path, docs: Path) -> list[Path]:
    """Write everything to `docs`; return the files."""
    sheets = list(draw_sheets(work, docs / MEDIA))
    published = {**report, "sheets": [sheet.name for sheet in sheets]}
    write_json(docs / REPORT, published)
    unfinished = (docs / PAGE).with_suffix(".part")
    unfinished.write_text(page(published), encoding="utf-8")
    unfinished.replace(docs / PAGE)
    return [docs / PAGE, docs / REPORT, *sheets]
