"""Write the page of a gallery: the clips as JSON, their posters, and the sheets in the page or beside it."""

import base64
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

from animdiff_cli.errors import UsageError
from animdiff_cli.files.atomic import hidden_sibling, replace
from animdiff_cli.files.os_errors import readable_output_failures
from animdiff_cli.gallery.clips import GalleryClip, fill_defaults
from animdiff_cli.gallery.preview import Preview
from animdiff_cli.outputs.html import END, begin_page, escaped, script_element

GALLERY_FILE = "gallery.html"
_WEB = Path(__file__).with_name("web")
#: in the order in which they use each other
SCRIPTS = ("clips.js", "player.js", "cards.js", "plot.js", "filters.js", "viewer.js", "main.js")


def sheets_folder(page: Path) -> Path:
    """Return the folder of the sheets beside a page with `--link`: `night_files` for `night.html`."""
    return page.with_name(f"{page.stem}_files")


def check_sheets_folder(folder: Path, *, overwrite: bool = False) -> None:
    """Raise `UsageError` if a path exists and `overwrite` is False, or if replacing it would remove other files."""
    if not os.path.lexists(folder):
        return
    if not overwrite:
        raise UsageError(f"{folder} exists", hint="add `--overwrite`, or choose another name with `--output`")
    if not folder.is_dir() or any(not _is_sheet(entry) for entry in folder.iterdir()):
        raise UsageError(
            f"`{folder}` holds more than the previews of a gallery, so it is not replaced",
            hint="choose another name with `--output`, or leave out `--link`",
        )


def write_gallery(
    title: str, clips: Iterable[tuple[GalleryClip, Preview, str | None]], path: Path, *, link: bool = False
) -> int:
    """Write the page, and with `link` the folder of sheets beside it; return the number of clips.

    `clips` are read one at a time: each clip, its pictures, and the address of its file relative to the page, if any.
    Both outputs appear when they are complete. Raises `UsageError` if they cannot be written.
    """
    records: list[dict[str, Any]] = []
    folder = sheets_folder(path)
    with ExitStack() as stack:
        stack.enter_context(readable_output_failures(path, "-o"))
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = stack.enter_context(hidden_sibling(path))
        hidden_folder = stack.enter_context(hidden_sibling(folder)) if link else None
        if hidden_folder:
            hidden_folder.mkdir()
        # the sheets come last in the page, so that it shows before they are read
        sheets = stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
        for index, (clip, preview, address) in enumerate(clips):
            record = clip.record() | {"sheet": preview.record(), "poster": _base64(preview.poster)}
            if hidden_folder:
                (hidden_folder / _sheet_name(index)).write_bytes(preview.sheet)
                record |= {"source": f"./{quote(os.fsencode(folder.name))}/{_sheet_name(index)}", "address": address}
            else:
                content = _base64(preview.sheet)
                sheets.write(f'<script type="text/plain" id="sheet-{index}">{content}</script>\n'.encode())
            records.append(record)
        sheets.seek(0)
        fill_defaults(records)
        with hidden.open("wb") as file:
            file.write(_page(title, records, link=link).encode())
            shutil.copyfileobj(sheets, file)
            file.write(END.encode())
        if hidden_folder:
            replace(hidden_folder, folder)
        replace(hidden, path)
    return len(records)


def _page(title: str, records: list[dict[str, Any]], *, link: bool) -> str:
    script = '"use strict";\n' + "\n".join(_read(name) for name in SCRIPTS)
    # `file:` is not part of 'self'
    sources = "data: 'self' file:" if link else "data:"
    begin = begin_page(title, _read("gallery.css"), script=script, sources=sources)
    body = _read("gallery.html").replace("{title}", escaped(title))
    data = f'<script type="application/json" id="clips">{script_json(records)}</script>'
    return f"{begin}{body}{data}\n{script_element(script)}\n"


def script_json(value: object) -> str:
    """Format JSON for a script element: ASCII only, and without `<`, so that no text in it ends the element."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def _read(name: str) -> str:
    return (_WEB / name).read_text(encoding="utf-8")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _sheet_name(index: int) -> str:
    return f"{index:05d}.webp"


def _is_sheet(path: Path) -> bool:
    return path.is_file() and path.suffix == ".webp" and path.stem.isdigit()
