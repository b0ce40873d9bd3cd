"""`animdiff models`: what weights there are, where, and whether they are still what they were."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from animdiff_cli.cli.command import Command
from animdiff_cli.cli.model_lines import card_lines, table
from animdiff_cli.cli.models_add import BaseOpt, KindOpt, add
from animdiff_cli.cli.options import MODELS, JsonOpt, QuietOpt
from animdiff_cli.cli.out import print_json

if TYPE_CHECKING:
    from animdiff_cli.core.events import Emit
    from animdiff_cli.jobs.remove import Removal

app = typer.Typer(no_args_is_help=True, help="What weights there are, here and to be had.")

WORTH_SAYING = 100_000_000  # bytes: less is read before a line about it
VERDICTS = {
    "ok": "ok",
    "differs": "DIFFERS",
    "recorded": "recorded: nothing to compare with until now",
    "unknown": "no hash to compare with",
}


NameArg = Annotated[str, typer.Argument(metavar="NAME", help="An alias, a file's name, an address or a path.")]


@app.command("list", cls=Command)
def list_(
    all_: Annotated[
        bool, typer.Option("--all", rich_help_panel=MODELS, help="Those that could be fetched, too.")
    ] = False,
    kind: KindOpt = None,
    base: BaseOpt = None,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """List the weights on this machine."""
    from animdiff_cli.jobs.inventory import list_models

    emit = _saying(quiet=quiet or json_)
    models = list(list_models(everything=all_, kind=kind, base=base, emit=emit))
    if json_:
        for model in models:
            print_json(model.record())
        return
    if quiet:
        print("\n".join(model.name for model in models), end="\n" if models else "")
        return
    print("\n".join(table(models)))
    _talk([f"note: {model.name}: {model.problem}" for model in models if model.problem])
    if not all_:
        chosen = (f" --{key} {value}" for key, value in (("kind", kind), ("base", base)) if value)
        _talk([f"hint: what could be fetched: `animdiff models list --all{''.join(chosen)}`"])


@app.command(cls=Command)
def show(name: NameArg, json_: JsonOpt = False) -> None:
    """Print all that is known of one set of weights."""
    from animdiff_cli.jobs.card import card_of

    card = card_of(name)
    if json_:
        print_json(card.record())
    else:
        print("\n".join(card_lines(card)))


@app.command(cls=Command)
def path(name: NameArg, json_: JsonOpt = False) -> None:
    """Print where the weights lie. Exit code 3 if they are not on this machine."""
    from animdiff_cli.jobs.inventory import find_model, require_path

    found = require_path(find_model(name))
    print_json({"name": name, "path": str(found)}) if json_ else print(found)


@app.command(cls=Command)
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Which; without names, all that are here.")
    ] = None,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Hash weights again and compare. Needs no network. Exit code 5 if one differs."""
    from animdiff_cli.errors import IntegrityError
    from animdiff_cli.jobs.verify import verify as check

    damaged, seen = [], 0
    for verified in check(names or [], _saying(quiet=quiet or json_)):
        seen += 1
        if json_:
            print_json(
                {
                    "name": verified.name,
                    "path": str(verified.path),
                    "verdict": verified.verdict,
                    "sha256": verified.sha256,
                    "expected": verified.expected,
                    "file": verified.lost,
                }
            )
        else:
            lost = f": {verified.lost}" if verified.lost else ""
            print(f"{verified.name}  {VERDICTS[verified.verdict]}{lost}", flush=True)
        if verified.verdict == "differs":
            damaged.append(verified)
    if not seen and not (json_ or quiet):
        _talk(["nothing to verify: only what is bundled is here"])
    if damaged:
        first = damaged[0]
        hint = f"`animdiff models rm {first.name}`, then `animdiff fetch {first.name}`"
        many = f"{len(damaged)} of these are not what they were: " if len(damaged) > 1 else ""
        told = f"{first.path} is not what it was" if len(damaged) == 1 else ", ".join(d.name for d in damaged)
        raise IntegrityError(many + told, hint=hint if first.is_own else "get it again from where it came")


@app.command(cls=Command)
def rm(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="What to remove.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", rich_help_panel=MODELS, help="Do not ask.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", rich_help_panel=MODELS, help="Take the alias out of your catalog, too.")
    ] = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Remove weights from animdiff's models folder. Prints what was removed."""
    from animdiff_cli.errors import UsageError
    from animdiff_cli.jobs.remove import plan_removal, remove

    planned = plan_removal(names, forget=forget)
    if not yes:
        if json_ or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError("removing needs a yes, and nobody can be asked here", hint="add `--yes`")
        if not typer.confirm(_question(planned), err=True):
            raise typer.Exit
    emit = _saying(quiet=quiet or json_)
    for removal in planned:
        size = removal.bytes
        remove(removal, emit)
        removed = [str(path) for path in removal.paths]
        if json_:
            print_json({"name": removal.name, "removed": removed, "bytes": size, "forgotten": removal.alias})
        elif removed:
            print("\n".join(removed))
        if removal.alias and not (json_ or quiet):
            _talk([f"`{removal.alias}` is no longer in your catalog"])


app.command(cls=Command)(add)


def _question(planned: "tuple[Removal, ...]") -> str:
    from animdiff_cli.fetch.disk import in_words

    names = ", ".join(removal.name for removal in planned)
    return f"remove {names} ({in_words(sum(removal.bytes for removal in planned))})?"


def _talk(lines: list[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)


def _saying(*, quiet: bool) -> "Emit":
    """Say notes, and which large file is being read."""
    from animdiff_cli.core.events import Checking, Event, Note, ignore
    from animdiff_cli.fetch.disk import in_words

    def report(event: Event) -> None:
        match event:
            case Checking(name, size) if size > WORTH_SAYING:
                _talk([f"reading {name}, {in_words(size)}"])
            case Note(message):
                _talk([f"note: {message}"])

    return ignore if quiet else report
