"""All commands. The file of a command is imported when the command is used: `animdiff --help` needs none of them."""

from collections.abc import Iterator, Mapping, MutableMapping
from copy import copy
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from typer.core import TyperCommand
from typer.main import get_group

from animdiff_cli.cli.command import Root

if TYPE_CHECKING:
    from typer._click.core import Command as ClickCommand
    from typer._click.core import Context
    from typer._click.formatting import HelpFormatter


class Entry(NamedTuple):
    """Where a command is, and the first sentences of its help."""

    module: str  # in `animdiff_cli.cli`
    attribute: str  # a function, or the `typer.Typer` of a group
    help: str
    kind: str = "Command"  # the class of a function's command, in `command.py`


COMMANDS = {
    "fetch": Entry("fetch", "fetch", "Download weights, verify them and print their paths."),
    "generate": Entry("generate", "generate", "Render clips and print the path of each file.", "GenerateCommand"),
    "train-lora": Entry(
        "train",
        "train_lora",
        "Train a MotionLoRA on a few videos of one motion and print the path of the file.",
        "TrainCommand",
    ),
    "train-adapter": Entry(
        "train",
        "train_adapter",
        "Train a domain adapter on the frames of videos (stage 1 of the paper) and print the path of the file.",
        "TrainCommand",
    ),
    "train-motion": Entry(
        "train",
        "train_motion",
        "Train a motion module on videos (stage 2 of the paper), from random weights or from a published module.",
        "TrainCommand",
    ),
    "inspect": Entry(
        "inspect", "inspect", "Show the kind, base, version and size of a weight file, or the recipe in a clip."
    ),
    "convert": Entry(
        "convert",
        "convert",
        "Convert weights between the AnimateDiff, diffusers, kohya, peft and ComfyUI layouts.",
    ),
    "doctor": Entry(
        "doctor",
        "doctor",
        "Check Python, torch, device, memory, ffmpeg, disk, tokens and catalog, with remedies.",
    ),
    "evaluate": Entry(
        "evaluate",
        "evaluate",
        "Compute metrics of clips: prompt alignment, smoothness, motion, flicker, loop seam, camera motion.",
    ),
    "gallery": Entry(
        "gallery",
        "gallery",
        "Write a page to look through clips: they play, with filters, XY plots, comparison and recipes.",
    ),
    "serve": Entry("serve", "serve", "Keep models loaded and render for other programs over HTTP. Prints its URL."),
    "batch": Entry("batch", "app", "Render many clips from one file: `animdiff batch FILE`."),
    "models": Entry("models", "app", "List local and downloadable weights."),
    "presets": Entry("presets", "app", "List and show presets."),
    "config": Entry("config", "app", "Show effective settings and their sources."),
}


class Commands(MutableMapping[str, "ClickCommand"]):
    """The commands by name: those of the table, imported when they are looked up, and `registered` ones."""

    def __init__(self, registered: Mapping[str, "ClickCommand"]) -> None:
        self._loaded = dict(registered)

    def __getitem__(self, name: str) -> "ClickCommand":
        """Import a command. Raises `KeyError` for an unknown name."""
        if name not in self._loaded:
            self._loaded[name] = _load(name, COMMANDS[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: "ClickCommand") -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*COMMANDS, *self._loaded)))

    def __len__(self) -> int:
        return len(COMMANDS.keys() | self._loaded.keys())


class Program(Root):
    """The root command, whose help is written without importing the others."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.commands = Commands(self.commands)

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the help from `COMMANDS`."""
        shown = copy(self)
        shown.commands = {name: TyperCommand(name, help=entry.help) for name, entry in COMMANDS.items()}
        Root.format_help(shown, ctx, formatter)


def _load(name: str, entry: Entry) -> "ClickCommand":
    target = getattr(import_module(f"animdiff_cli.cli.{entry.module}"), entry.attribute)
    parent = typer.Typer()
    if isinstance(target, typer.Typer):
        parent.add_typer(target, name=name)
    else:
        kind = getattr(import_module("animdiff_cli.cli.command"), entry.kind)
        parent.command(name, cls=kind)(target)
    return get_group(parent).commands[name]
