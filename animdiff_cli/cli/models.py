"""`animdiff models`: list, show, verify, remove and add models."""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from animdiff_cli.cli import complete
from animdiff_cli.cli.command import Command, Group
from animdiff_cli.cli.models_add import BaseOpt, KindOpt, add
from animdiff_cli.cli.options import MODELS, JsonOpt, QuietOpt
from animdiff_cli.cli.out import print_err, print_json, print_out, print_paths, print_row
from animdiff_cli.core.text import printable

if TYPE_CHECKING:
    from animdiff_cli.core.events import Emit
    from animdiff_cli.jobs.models import ModelDetails, ModelInfo
    from animdiff_cli.jobs.models_remove import Removal
    from animdiff_cli.jobs.models_verify import VerifyResult

app = typer.Typer(cls=Group, no_args_is_help=True, help="List local and downloadable weights.")

HEADER = ("NAME", "KIND", "BASE", "SIZE", "LOCATION")
LOCATIONS = {"bundled": "bundled", "store": "local", "hub-cache": "Hub cache", None: "not downloaded"}
#: file properties that `models show` prints; `animdiff inspect` prints all
FILE_PROPERTIES = ("format", "dtype", "parameters", "rank", "max_frames", "container")
VERDICTS = {
    "ok": "ok",
    "differs": "DIFFERS",
    "recorded": "hash recorded, none was known",
    "unknown": "no known hash",
}
LARGE_FILE = 100_000_000  # bytes; reading a larger file is announced

Section = tuple[str, list[tuple[str, str]]]  # title, (label, value) lines
NameArg = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Alias, file name, remote reference or path.", autocompletion=complete.models()
    ),
]


@app.command("list", cls=Command)
def list_(
    all_: Annotated[
        bool, typer.Option("--all", rich_help_panel=MODELS, help="Include models that can be downloaded.")
    ] = False,
    kind: KindOpt = None,
    base: BaseOpt = None,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """List the models on this machine."""
    from animdiff_cli.jobs.models import list_models

    models = list(list_models(everything=all_, kind=kind, base=base, emit=_reporter(quiet=quiet)))
    if json_:
        for model in models:
            print_json(model.record())
        return
    if quiet:
        print_paths(*(model.name for model in models))
        return
    for start, location in _table(models):
        print_row(start, location)
    print_err(*(f"note: {model.name}: {model.problem}" for model in models if model.problem))
    if not all_:
        filters = (f" --{key} {value}" for key, value in (("kind", kind), ("base", base)) if value)
        print_err(f"hint: to list downloadable models too: `animdiff models list --all{''.join(filters)}`")


@app.command(cls=Command)
def show(name: NameArg, json_: JsonOpt = False) -> None:
    """Print all information about one model."""
    from animdiff_cli.jobs.models import model_details

    details = model_details(name)
    if json_:
        print_json(details.record())
    else:
        for start, text in _details_lines(details):
            print_row(start, text)


@app.command(cls=Command)
def path(name: NameArg, json_: JsonOpt = False) -> None:
    """Print a model's local path. Exits with code 3 if it is not on this machine."""
    from animdiff_cli.jobs.models import find_model, require_path

    found = require_path(find_model(name))
    print_json({"name": name, "path": str(found)}) if json_ else print_paths(found)


@app.command(cls=Command)
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Models to verify. Default: all local models.", autocompletion=complete.models()
        ),
    ] = None,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Hash models and compare with known hashes, offline. Exits with code 5 if one differs."""
    from animdiff_cli.jobs.models_verify import verify as verify_models

    damaged, count = [], 0
    for result in verify_models(names or [], _reporter(quiet=quiet)):
        count += 1
        if json_:
            print_json(result.record())
        else:
            failed = f": {result.failed_file}" if result.failed_file else ""
            print_out(f"{result.name}  {VERDICTS[result.verdict]}{failed}")
        if result.verdict == "differs":
            damaged.append(result)
    if not count and not quiet:
        print_err("nothing to verify: all local models are bundled")
    if damaged:
        _raise_damaged(damaged)


@app.command(cls=Command)
def rm(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="Models to remove.", autocompletion=complete.models())
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", rich_help_panel=MODELS, help="Do not ask.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", rich_help_panel=MODELS, help="Also remove the alias from your catalog.")
    ] = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Remove models from animdiff's models folder. Prints the removed paths."""
    from animdiff_cli.errors import UsageError
    from animdiff_cli.jobs.models_remove import plan_removal, remove

    planned = plan_removal(names, forget=forget)
    if not yes:
        if json_ or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError("`--json` does not prompt" if json_ else "not a terminal", hint="confirm with `--yes`")
        if not typer.confirm(_question(planned), err=True):
            raise typer.Exit
    report = _reporter(quiet=quiet)
    for removal in planned:
        size = removal.bytes
        remove(removal, report)
        removed = [str(path) for path in removal.paths]
        if json_:
            print_json({"name": removal.name, "removed": removed, "bytes": size, "forgotten": removal.alias})
        elif removed:
            print_paths(*removed)
        if removal.alias and not quiet:
            print_err(f"removed `{removal.alias}` from your catalog")


app.command(cls=Command)(add)


def _table(models: "Sequence[ModelInfo]") -> Iterator[tuple[str, str]]:
    """Yield rows: all columns but the last, and the last. Nothing is truncated, so that names can be copied."""
    rows = [HEADER, *(_row(model) for model in models)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for name, kind, base, size, location in rows:
        yield f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {base:<{widths[2]}}  {size:>{widths[3]}}  ", location


def _row(model: "ModelInfo") -> tuple[str, str, str, str, str]:
    location = LOCATIONS.get(model.where) or str(model.path and model.path.parent)
    location += ", not usable yet" if model.unsupported else ""
    return printable(model.name), model.kind or "?", model.base or "?", _size(model.bytes), location


def _details_lines(details: "ModelDetails") -> Iterator[tuple[str, str]]:
    """Format model details in titled sections of labelled lines: label and text of each line."""
    metadata = details.model.metadata
    yield details.model.name, ""
    if metadata.description:
        yield "  ", metadata.description
    sections = (
        _model_section(details),
        _file_section(details),
        _properties_section(details),
        ("Recommended", [(key, _value(value)) for key, value in metadata.recommended.items()]),
        ("Requires", [(alias, "local" if is_local else "not downloaded") for alias, is_local in details.requirements]),
    )
    width = max(len(label) for _, lines in sections for label, _ in lines)
    for title, lines in sections:
        if lines:
            yield "", ""
            yield "  ", title
            yield from ((f"    {label:<{width}}  ", text) for label, text in lines)


def _model_section(details: "ModelDetails") -> Section:
    model = details.model
    fields = {
        "aliases": ", ".join(model.entry.aliases) if model.entry else "",
        "kind": model.kind,
        "base": model.base,
        "version": model.version or (details.info.version if details.info else None),
        "license": model.metadata.license,
        "trigger words": ", ".join(model.metadata.trigger_words),
        "problem": model.problem or model.unsupported,
    }
    return "Model", [(label, text) for label, text in fields.items() if text]


def _file_section(details: "ModelDetails") -> Section:
    model, download_record = details.model, details.download_record
    lines = [("path", str(model.path) if model.path else f"not downloaded: `animdiff fetch {model.name}`")]
    if model.bytes is not None:
        lines.append(("size", _size(model.bytes)))
    if details.sha256:
        lines.append(("sha256", details.sha256))
    sources = list(model.entry.sources) if model.entry else []
    lines += [("source", source) for source in sources or ([download_record.source] if download_record else [])]
    if download_record:
        lines.append(("recorded", download_record.date))
    return "File", lines


def _properties_section(details: "ModelDetails") -> Section:
    record = details.info.record() if details.info else {}
    known = [(key.replace("_", " "), record[key]) for key in FILE_PROPERTIES if record.get(key) is not None]
    return "Weights", [(label, f"{value:,}" if isinstance(value, int) else str(value)) for label, value in known]


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _size(size: int | None) -> str:
    from animdiff_cli.fetch.disk import format_bytes

    return "?" if size is None else format_bytes(size)


def _raise_damaged(damaged: "list[VerifyResult]") -> None:
    from animdiff_cli.errors import IntegrityError

    first = damaged[0]
    names = ", ".join(result.name for result in damaged)
    message = f"{first.path} has changed" if len(damaged) == 1 else f"{len(damaged)} models have changed: {names}"
    again = f"run `animdiff models rm {first.name}`, then `animdiff fetch {first.name}`"
    raise IntegrityError(message, hint=again if first.is_own else "download it again from its source")


def _question(planned: "tuple[Removal, ...]") -> str:
    names = ", ".join(removal.name for removal in planned)
    return f"remove {printable(names)} ({_size(sum(removal.bytes for removal in planned))})?"


def _reporter(*, quiet: bool) -> "Emit":
    """Return an event handler that prints notes and the large file being read."""
    from animdiff_cli.core.events import Checking, Event, Note, ignore

    def report(event: Event) -> None:
        match event:
            case Checking(name, size) if size > LARGE_FILE:
                print_err(f"reading {name}, {_size(size)}")
            case Note(message):
                print_err(f"note: {message}")

    return ignore if quiet else report
