"""Which files of the server's machine a request may name."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from animdiff_cli.config.input_settings import INPUT_SETTINGS, entries_of
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS, refs_in
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.serve.wire import URL
from animdiff_cli.paths import expanded


def check_named_files(
    settings: Mapping[str, object], allowed: Iterable[Path], trusted: Mapping[str, object] | None = None
) -> None:
    """Raise `UsageError` for a setting that names a file or folder outside of `allowed`. Looks at no named file.

    Settings in `trusted`, of a preset of the server, may name any file. Aliases and downloads are always allowed: they
    are found by name in the model folders.
    """
    folders = [folder.resolve() for folder in allowed]
    known = set(_named(trusted or {}))
    for key, text in _named(settings):
        if (key, text) in known:
            continue
        if URL.match(text):
            raise UsageError(f"`{key}`: this server does not read `{text}`", hint="copy it to the server first")
        path = expanded(text)
        if not any(_is_within(path, folder) for folder in folders):
            raise UsageError(
                f"`{key}` names the path `{text}`, which this server may not read",
                hint=f"start it with `animdiff serve --allow-path {path.absolute().parent}`, or use an alias",
            )


def _is_within(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder)  # symlinks and `..` are followed first
    except (OSError, RuntimeError, ValueError):  # a loop of symlinks, or a name that no file can have
        return False


def _named(settings: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield every setting that names a path, with the path."""
    for key, setting in WEIGHT_SETTINGS.items():
        for text in refs_in(setting, settings.get(key)):
            ref = parse_ref(text)
            if ref.source == "path":
                yield key, ref.target
    for key, read in INPUT_SETTINGS.items():
        for entry in entries_of(read, settings.get(key)):
            yield key, entry.source
