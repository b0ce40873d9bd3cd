"""The commented example of a batch file that `animdiff batch init` writes."""

import shlex
from pathlib import Path

from animdiff_cli.errors import UsageError
from animdiff_cli.files.atomic import claim, hidden_sibling
from animdiff_cli.files.os_errors import readable_failures

EXAMPLE = Path(__file__).with_name("example.yaml")


def example(path: Path) -> str:
    """Return the example, whose comments name the file `path`."""
    text = EXAMPLE.read_text(encoding="utf-8")
    return text.replace("batch.yaml", shlex.quote(str(path))) if path.name.isprintable() else text


def write_example(path: Path) -> None:
    """Write the example. Raises `UsageError` for a file that exists, or a folder that cannot be written."""
    with readable_failures("write", path, hint="choose another path"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with hidden_sibling(path) as hidden:
            hidden.write_text(example(path), encoding="utf-8")
            try:
                claim(hidden, path)
            except FileExistsError as error:
                hint = "name another file, as in `animdiff batch init night.yaml`"
                raise UsageError(f"`{path}` exists, and is not replaced", hint=hint) from error
