"""Base classes of commands: the order of help panels, and errors as exit codes."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.exceptions import TyperException

from animdiff_cli.cli.interrupts import was_interrupted
from animdiff_cli.cli.lean_help import import_rich_help
from animdiff_cli.cli.options import CONTROL, GENERAL, MODELS, PICTURES
from animdiff_cli.cli.out import print_err, print_error
from animdiff_cli.cli.peer_options import command_hint, option_hint, words_hint
from animdiff_cli.core.stand_ins import hide_torchvision
from animdiff_cli.core.text import number_of_times
from animdiff_cli.core.validation_words import in_own_words
from animdiff_cli.errors import AnimdiffError, NotFound, UsageError
from animdiff_cli.files.os_errors import unexpected_failure

if TYPE_CHECKING:
    # the classes in the signatures of typer's base classes
    from typer._click.core import Command as ClickCommand
    from typer._click.core import Context
    from typer._click.formatting import HelpFormatter

#: other names of commands
SYNONYMS: Mapping[str, str] = {"ls": "list"}


class Command(TyperCommand):
    """A command whose help lists the general options last, including `--help`."""

    def get_help_option(self, ctx: "Context") -> TyperOption | None:
        """Return the `--help` option, moved to the general panel."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel = GENERAL
        return option

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Parse the options. Say which weights, pictures and videos were given again though the last one counts."""
        given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for option, count in Counter(order).items():
            if count > 1 and _last_counts(option) and not given.get("quiet") and not ctx.resilient_parsing:
                name = "/".join((*option.opts[:1], *option.secondary_opts[:1]))
                print_err(f"note: `{name}` is given {number_of_times(count)}: the last one counts")
        return super().parse_args(ctx, args)

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the help."""
        import_rich_help()
        super().format_help(ctx, formatter)


class SettingsCommand(Command):
    """A command whose options are settings: its help shows their defaults."""

    def defaults(self) -> Mapping[str, object]:
        """Return the defaults of the settings by parameter."""
        raise NotImplementedError

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the help, with the defaults of the settings."""
        defaults = self.defaults()
        for parameter in self.params:
            value = defaults.get(parameter.name or "")
            if not isinstance(parameter, TyperOption) or "Default:" in (parameter.help or ""):
                continue
            if isinstance(value, (int, float, str)) and not isinstance(value, bool) and value != "":
                parameter.help = f"{parameter.help} Default: {value}."
        super().format_help(ctx, formatter)


class GenerateCommand(SettingsCommand):
    """The command that renders the clips that its options describe."""

    def defaults(self) -> Mapping[str, object]:
        """Return the defaults of a render."""
        from animdiff_cli.config.load import flag_names
        from animdiff_cli.config.schema import GenerateConfig

        return {name: GenerateConfig.model_fields[key].default for key, name in flag_names().items()}


class TrainCommand(SettingsCommand):
    """A command that trains one stage."""

    def defaults(self) -> Mapping[str, object]:
        """Return the defaults of the stage."""
        from animdiff_cli.cli.train import parameters
        from animdiff_cli.config.settings import settings_of
        from animdiff_cli.config.train_config import STAGE_DEFAULTS, TrainConfig
        from animdiff_cli.config.train_layers import COMMANDS

        stage = next(stage for stage in STAGE_DEFAULTS if COMMANDS[stage].endswith(f" {self.name}"))
        names = parameters({parameter.name or "" for parameter in self.params})
        fields = {key: setting.field.default for key, setting in settings_of(TrainConfig).items() if key in names}
        return {names[key]: STAGE_DEFAULTS[stage].get(key, default) for key, default in fields.items()}


class Group(TyperGroup):
    """A group of commands: `ls` is `list`, and an unknown command gets a hint."""

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the help."""
        import_rich_help()
        super().format_help(ctx, formatter)

    def get_command(self, ctx: "Context", cmd_name: str) -> "ClickCommand | None":
        """Return a command by name; None if it is unknown."""
        return super().get_command(ctx, cmd_name) or super().get_command(ctx, SYNONYMS.get(cmd_name, cmd_name))

    def resolve_command(self, ctx: "Context", args: list[str]) -> "tuple[str | None, ClickCommand | None, list[str]]":
        """Find the command in `args`. Raises `UsageError` with a hint."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            hint = command_hint(args[0], self.list_commands(ctx), f"{ctx.command_path} --help")
            raise UsageError(f"no such command: {args[0]}", hint=hint)
        return super().resolve_command(ctx, args)


class Root(Group):
    """Print an `AnimdiffError` as two lines on stderr and exit with its code. Other exceptions are raised: bugs."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: "Context | None" = None, **extra: object
    ) -> "Context":
        """Parse the options before the command."""
        with _reported(as_json="--json" in args):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: "Context") -> object:
        """Run the command."""
        with _reported(as_json="--json" in ctx.args):
            _check_current_folder()
            _check_environment()
            hide_torchvision()
            return super().invoke(ctx)


def _last_counts(parameter: object) -> bool:
    """Return whether an option has one value, and who gives two may expect both to be used: not of a number, say."""
    return (
        isinstance(parameter, TyperOption)
        and parameter.rich_help_panel in (MODELS, CONTROL, PICTURES)
        and not parameter.multiple
    )


@contextmanager
def _reported(*, as_json: bool) -> Iterator[None]:
    """Print an error that the user can act on, usage errors of typer too, and exit with its code.

    After Ctrl-C, all errors are its consequence.
    """
    try:
        with _interrupts_first():
            yield
        return
    except AnimdiffError as error:
        failure = error
    except OSError as error:
        known = unexpected_failure(error)
        if known is None:
            raise
        failure = known
    except TyperException as error:
        if not error.format_message():  # a group without a command has printed its help
            raise
        failure = _usage_error(error)
    print_error(failure, as_json=as_json)
    raise typer.Exit(failure.exit_code)


@contextmanager
def _interrupts_first() -> Iterator[None]:
    """Raise `KeyboardInterrupt` in place of an error that follows it."""
    try:
        yield
    except Exception as error:
        if was_interrupted():
            raise KeyboardInterrupt from error
        raise


def _usage_error(error: TyperException) -> UsageError:
    """Word a usage error of typer like all others, with a hint."""
    ctx: Context | None = getattr(error, "ctx", None)
    command = ctx.command_path if ctx else "animdiff"
    option = getattr(error, "option_name", None)
    if option and ctx and hasattr(error, "possibilities"):
        available = [name for parameter in ctx.command.get_params(ctx) for name in parameter.opts]
        return UsageError(f"no such option: {option}", hint=option_hint(option, available, command))
    message = in_own_words(error.format_message().rstrip("."))
    words = message.removeprefix("unexpected: ") if message.startswith("unexpected:") else ""
    return UsageError(message, hint=words_hint(words, command))


def _check_current_folder() -> None:
    """Raise `NotFound` in a deleted folder: relative paths mean nothing there, and torch cannot be imported."""
    try:
        Path.cwd()
    except OSError as error:
        raise NotFound("the current folder no longer exists", hint="type `cd`, then run the command again") from error


def _check_environment() -> None:
    """Raise `UsageError` for variables with which `huggingface_hub` cannot be imported."""
    try:
        urlsplit(os.environ.get("HF_ENDPOINT", ""))
    except ValueError as error:
        raise UsageError("`HF_ENDPOINT` is not a URL", hint="type `unset HF_ENDPOINT`") from error
    for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        if not os.environ.get(name, "0").isdecimal():
            raise UsageError(f"`{name}` is not a number of seconds", hint=f"type `export {name}=10`")
