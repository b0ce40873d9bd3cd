"""Import what draws help without what it uses for Markdown and tracebacks, of which this program has none."""

from animdiff_cli.core.stand_ins import module_with, standing_in


class _Unused:
    """Stands in for a class that is imported and not used."""


def import_rich_help() -> None:
    """Import `typer.rich_utils` in a third of the time. If it has changed, typer imports it as usual."""
    unused = {
        "rich.markdown": module_with("rich.markdown", Markdown=_Unused),
        "rich.traceback": module_with("rich.traceback", Traceback=_Unused),
    }
    with standing_in(unused):
        try:
            import typer.rich_utils  # noqa: F401
        except ImportError:
            return
