"""Variants `{a|b|2$$c|d}` and wildcards `__name__` of prompts, drawn through the dynamicprompts library."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from animdiff_cli.core.curves import TextTrack
from animdiff_cli.core.prompt_travel import Prompt
from animdiff_cli.core.prompt_variants import variant_spans, wildcard_names
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import NotFound, UsageError

if TYPE_CHECKING:
    from dynamicprompts.wildcards import WildcardManager

_SILENT = logging.NullHandler()


def check_wildcards(folder: Path | None) -> None:
    """Raise `NotFound` for a folder of wildcard files that is not there."""
    if folder and not os.path.isdir(folder):  # noqa: PTH112  unlike Path.is_dir, it never raises
        raise NotFound(f"no folder `{folder}` with wildcards", hint="it holds a file colour.txt for `__colour__`")


def draw_prompt(prompt: Prompt, seed: int, folder: Path | None) -> Prompt:
    """Draw the variants and wildcards of each text of a prompt. The same seed draws the same words.

    Texts of one clip that begin alike are drawn alike as far as they are the same. Raises `NotFound` for a wildcard
    without a file, `UsageError` for what cannot be parsed.
    """
    if isinstance(prompt, TextTrack):
        return TextTrack(tuple((where, _draw(text, seed, folder)) for where, text in prompt.keys))
    return _draw(prompt, seed, folder)


def _draw(text: str, seed: int, folder: Path | None) -> str:
    spans = variant_spans(text)
    if not spans:
        return text
    from dynamicprompts.generators import RandomPromptGenerator
    from dynamicprompts.wildcards import WildcardManager

    logging.getLogger("dynamicprompts").addHandler(_SILENT)  # missing wildcards are errors here
    manager = WildcardManager(folder)
    _check_names(text, manager, folder)
    generator = RandomPromptGenerator(manager, seed=seed)
    drawn, at = "", 0
    for start, end in spans:
        drawn += text[at:start] + _generate(generator.generate, text[start:end])
        at = end
    drawn += text[at:]
    _check_names(drawn, manager, folder)  # wildcards in files of wildcards
    return drawn


def _generate(generate: Callable[[str], list[str]], template: str) -> str:
    shown = template if len(template) <= 40 else f"{template[:39]}…"
    try:
        return generate(template)[0]
    except RecursionError as error:
        raise UsageError(f"`{shown}` in a prompt leads back to itself", hint="correct the wildcard files") from error
    except Exception as error:
        raise UsageError(
            f"`{shown}` in a prompt is not a valid choice of words",
            hint=r"write `{red|blue}` or `{2$$a|b|c}`, and `\{` for a brace that is text",
        ) from error


def _check_names(text: str, manager: "WildcardManager", folder: Path | None) -> None:
    for name in wildcard_names(text):
        if folder is None:
            raise NotFound(
                f"`__{name}__` in a prompt is a wildcard, and no folder of wildcards was given",
                hint=rf"add `--wildcards FOLDER` with a file {name}.txt, or write `\__{name}__` for text",
            )
        try:
            values = manager.get_values(name)
        except OSError as error:
            raise UsageError(f"cannot read the wildcards in {folder}: {error.strerror}", hint="check them") from error
        if not len(values):
            known = sorted(manager.get_collection_names() - {name})
            hint = did_you_mean(name, known, otherwise=f"add a file {name}.txt with one text a line")
            raise NotFound(f"no file for the wildcard `__{name}__` in {folder}, or it is empty", hint=hint)
