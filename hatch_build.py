"""Build hook: package indexes show README.md alone, so that links and images into the repository become text."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: a Markdown link or image whose target is neither a URL nor a heading of the page
RELATIVE = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]+)\]\((?!https?:|#)[^)]+\)")


class CustomMetadataHook(MetadataHookInterface):
    """Set the long description of the package."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add `readme` to the metadata."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": without_relative_links(text)}


def without_relative_links(text: str) -> str:
    """Replace relative links by their text, and relative images by their description."""
    return RELATIVE.sub(lambda match: f"*{match['text']}*" if match["image"] else match["text"], text)
