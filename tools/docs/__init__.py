"""Files that are written from the program itself: reference pages, keyword arguments, transcripts."""

from collections.abc import Callable, Mapping
from pathlib import Path

from animdiff_cli.core.event_records import json_schema
from tools.docs import events, keywords, pages

#: file → its content
GENERATED: Mapping[Path, Callable[[], str]] = {
    keywords.OUTPUT: keywords.page,
    pages.SETTINGS: pages.settings_page,
    pages.ENVIRONMENT: pages.environment_page,
    events.PAGE: events.page,
    events.SCHEMA: json_schema,
    events.PACKAGED_SCHEMA: json_schema,
}


def stale() -> list[Path]:
    """List the generated files whose content is not up to date."""
    return [path for path, page in GENERATED.items() if not path.is_file() or path.read_text("utf-8") != page()]
