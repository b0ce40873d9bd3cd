"""Files that are written from the program itself: reference pages, keyword arguments, transcripts."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tools.docs import keywords, pages

#: file → its content
GENERATED: Mapping[Path, Callable[[], str]] = {
    keywords.OUTPUT: keywords.page,
    pages.SETTINGS: pages.settings_page,
    pages.ENVIRONMENT: pages.environment_page,
}


def stale() -> list[Path]:
    """List the generated files whose content is not up to date."""
    return [path for path, page in GENERATED.items() if not path.is_file() or path.read_text("utf-8") != page()]
