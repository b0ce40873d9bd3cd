"""Parts of the HTML pages this program writes: the frame of a page, its theme, escaping, and the path of a page.

A page is one file that loads nothing from other sites. Its content security policy allows exactly the styles and the
script it is written with, so text that should get past the escaping cannot run.
"""

import base64
import hashlib
from html import escape
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.core.text import printable
from animdiff_cli.errors import UsageError
from animdiff_cli.files.os_errors import check_output_path

THEME = Path(__file__).with_name("theme.css")
END = "</body>\n</html>\n"


def begin_page(title: str, style: str, *, script: str = "", sources: str = "data:") -> str:
    """Return a page up to the start of its body: the theme, then `style`. `END` follows the body.

    `script` is allowed to run; the caller places it in the body with `script_element`. `sources` are the places that
    images and videos may come from.
    """
    css = f"\n{THEME.read_text(encoding='utf-8').strip()}\n{style.strip()}\n"
    scripts = _source(script) if script else "'none'"
    policy = [
        "default-src 'none'",
        f"img-src {sources}",
        f"media-src {sources}",
        f"style-src {_source(css)}",
        f"script-src {scripts}",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{"; ".join(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escaped(title)}</title>
<style>{css}</style>
</head>
<body>
"""


def script_element(script: str) -> str:
    """Return the element of a script that is allowed by the policy of `begin_page`."""
    return f"<script>{script}</script>"


def escaped(text: object) -> str:
    """Escape for HTML; characters that UTF-8 cannot store or that reorder text are shown as escapes."""
    return escape(printable(text))


def page_path(path: Path, name: str, flag: str, *, overwrite: bool = False) -> Path:
    """Return the path of a page: `path` if it ends in `.html`, else `name` in the folder `path`.

    `flag`: the option that sets the path. Raises `UsageError` if the file exists and `overwrite` is False, if the path
    is a folder, or if it cannot be written.
    """
    path = paths.expanded_output(path)
    check_output_path(path, flag)
    target = path if path.suffix.lower() in (".html", ".htm") and not path.is_dir() else path / name
    if target.is_dir() or (target.exists() and not overwrite):
        raise UsageError(f"{target} exists", hint=f"add `--overwrite`, or choose another path with `{flag}`")
    return target


def _source(text: str) -> str:
    """Return a source of a content security policy: the hash of an inline element."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
