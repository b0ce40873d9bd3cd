"""`animdiff models add`: add a model to the user catalog."""

from typing import Annotated

import typer

from animdiff_cli.cli.options import MODELS, OUTPUT, SOURCES, JsonOpt, QuietOpt
from animdiff_cli.cli.out import print_err, print_json, print_out
from animdiff_cli.core.choices import Base, Family, Kind

KindOpt = Annotated[
    Kind | None, typer.Option("--kind", rich_help_panel=MODELS, help="Kind of model.", show_default=False)
]
BaseOpt = Annotated[
    Base | None, typer.Option("--base", rich_help_panel=MODELS, help="Base image model.", show_default=False)
]


def add(
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="Name for the model.")],
    source: Annotated[
        str, typer.Argument(metavar="REF", help="File, model folder, `hf:org/repo/file`, `civitai:model@version` …")
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", rich_help_panel=SOURCES, metavar="<key=value>", help="Recommended setting. Repeatable."),
    ] = None,
    trigger: Annotated[
        list[str] | None,
        typer.Option(
            "--trigger", rich_help_panel=MODELS, metavar="<word>", help="Trigger word for prompts. Repeatable."
        ),
    ] = None,
    requires: Annotated[
        list[str] | None,
        typer.Option(
            "--requires", rich_help_panel=MODELS, metavar="<alias>", help="Model that this one needs. Repeatable."
        ),
    ] = None,
    kind: KindOpt = None,
    base: BaseOpt = None,
    version: Annotated[
        Family | None,
        typer.Option("--version", rich_help_panel=MODELS, help="Motion module family.", show_default=False),
    ] = None,
    description: Annotated[
        str | None,
        typer.Option("--description", rich_help_panel=MODELS, help="One short sentence.", show_default=False),
    ] = None,
    license_: Annotated[
        str | None, typer.Option("--license", rich_help_panel=MODELS, help="License.", show_default=False)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=OUTPUT, help="Replace an entry with this alias.")
    ] = False,
    json_: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Add a model to your catalog under an alias, with recommended settings.

    Kind, base and version are read from the file unless given. Prints the catalog entry.
    """
    from animdiff_cli.config.layers import set_layer
    from animdiff_cli.config.schema import GenerateConfig
    from animdiff_cli.jobs.models_add import EntryOverrides
    from animdiff_cli.jobs.models_add import add as add_to_catalog
    from animdiff_cli.registry.user_catalog import as_yaml

    overrides = EntryOverrides(
        kind=kind,
        base=base,
        version=version,
        description=description,
        license=license_,
        requires=tuple(requires or ()),
        trigger_words=tuple(trigger or ()),
        recommended=set_layer(GenerateConfig, set_ or []).values,
    )
    added = add_to_catalog(alias, source, overrides, overwrite=overwrite)
    if json_:
        print_json(added.entry.model_dump(mode="json"))
        return
    print_out(*as_yaml(added.entry).rstrip().split("\n"))
    if not quiet:
        print_err(f"written to {added.catalog}")
