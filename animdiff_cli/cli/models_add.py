"""`animdiff models add`: names of one's own."""

import sys
from typing import Annotated

import typer

from animdiff_cli.cli.options import MODELS, OUTPUT, SOURCES, JsonOpt, QuietOpt
from animdiff_cli.cli.out import print_json
from animdiff_cli.core.choices import Base, Family, Kind

KindOpt = Annotated[
    Kind | None, typer.Option("--kind", rich_help_panel=MODELS, help="Kind of weights.", show_default=False)
]
BaseOpt = Annotated[
    Base | None, typer.Option("--base", rich_help_panel=MODELS, help="Image model it is for.", show_default=False)
]


def add(
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="The name to give.")],
    source: Annotated[
        str, typer.Argument(metavar="REF", help="A file, a model folder, `hf:org/repo/file`, `civitai:model@version` …")
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", rich_help_panel=SOURCES, metavar="<key=value>", help="A setting it is best used with. Repeatable."
        ),
    ] = None,
    trigger: Annotated[
        list[str] | None,
        typer.Option(
            "--trigger", rich_help_panel=MODELS, metavar="<word>", help="A word its prompts need. Repeatable."
        ),
    ] = None,
    requires: Annotated[
        list[str] | None,
        typer.Option(
            "--requires", rich_help_panel=MODELS, metavar="<alias>", help="What it is of no use without. Repeatable."
        ),
    ] = None,
    kind: KindOpt = None,
    base: BaseOpt = None,
    version: Annotated[
        Family | None,
        typer.Option("--version", rich_help_panel=MODELS, help="Family of its motion module.", show_default=False),
    ] = None,
    description: Annotated[
        str | None, typer.Option("--description", rich_help_panel=MODELS, help="One line.", show_default=False)
    ] = None,
    license_: Annotated[
        str | None, typer.Option("--license", rich_help_panel=MODELS, help="Its license.", show_default=False)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=OUTPUT, help="Replace what has this name.")
    ] = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Give weights a name of your own, and the settings they are best used with.

    Prints the entry as it stands in your catalog. What is not told is read from the file.
    """
    from animdiff_cli.config.load import set_layer
    from animdiff_cli.jobs.add import Wishes
    from animdiff_cli.jobs.add import add as add_to_catalog
    from animdiff_cli.registry.user_catalog import as_yaml

    wishes = Wishes(
        kind=kind,
        base=base,
        version=version,
        description=description,
        license=license_,
        requires=tuple(requires or ()),
        trigger_words=tuple(trigger or ()),
        recommended=set_layer(set_ or []).values,
    )
    added = add_to_catalog(alias, source, wishes, overwrite=overwrite)
    if json_:
        print_json(added.entry.model_dump(mode="json"))
        return
    print(as_yaml(added.entry), end="")
    if not quiet:
        print(f"written to {added.catalog}", file=sys.stderr)
