"""Options of prompts: texts, their notation, and how they change over a clip."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from animdiff_cli.cli.options import PROMPT, option
from animdiff_cli.cli.stdin import read_stdin
from animdiff_cli.core.choices import PromptInterpolation, PromptSyntax
from animdiff_cli.errors import UsageError

if TYPE_CHECKING:
    from animdiff_cli.core.prompt_travel import Travel
    from animdiff_cli.jobs.prompts import PromptOptions

PromptOpt = Annotated[
    list[str] | None,
    option(
        "--prompt",
        "-p",
        help="Text prompt. Repeatable. - reads prompts from stdin, one a line.",
        panel=PROMPT,
        metavar="<text>",
    ),
]
NegativeOpt = Annotated[str | None, option("--negative", "-n", help="Negative prompt.", panel=PROMPT, metavar="<text>")]
PromptAtOpt = Annotated[
    list[str] | None,
    option(
        "--prompt-at",
        help="Text from a position on, such as '50%=at night': frame 12, -1, 50% or 1.5s. `--prompt` is put before"
        " each text. Repeatable.",
        panel=PROMPT,
        metavar="<where=text>",
    ),
]
NegativeAtOpt = Annotated[
    list[str] | None,
    option(
        "--negative-at",
        help="The same for the negative prompt. Repeatable.",
        panel=PROMPT,
        metavar="<where=text>",
    ),
]
PromptFileOpt = Annotated[
    str | None,
    option("--prompt-file", help="Lines such as '50%: at night'; - is stdin.", panel=PROMPT, metavar="<file>"),
]
PromptInterpolationOpt = Annotated[
    PromptInterpolation | None,
    option("--prompt-interpolation", help="How one text leads into the next. Default: linear.", panel=PROMPT),
]
PromptHoldOpt = Annotated[
    float | None,
    option("--prompt-hold", help="Share of the way to the next text for which a text is held, 0 to 1.", panel=PROMPT),
]
WildcardsOpt = Annotated[
    Path | None,
    option(
        "--wildcards",
        help="Folder with a file colour.txt for `__colour__` in prompts; drawn by the seed, as `{red|blue}` is.",
        panel=PROMPT,
        metavar="<folder>",
    ),
]
PromptSyntaxOpt = Annotated[
    PromptSyntax | None,
    option(
        "--prompt-syntax",
        help="How weights are written: `(word:1.2)`, as `word++`, or not at all. Default: a1111.",
        panel=PROMPT,
    ),
]
RegionOpt = Annotated[
    list[str] | None,
    option(
        "--region",
        help="Mask and the prompt of what is white in it: 'left.png=a red rocket'. The mask is a picture, a video or a"
        " folder. `--prompt` is for the rest. Repeatable.",
        panel=PROMPT,
        metavar="<mask=text>",
    ),
]


def read_prompts(prompts: list[str], prompt_file: str | None) -> list[str]:
    """Replace `-` by the lines of stdin, without empty ones. Raises `UsageError`, also for an empty prompt."""
    for prompt in prompts:
        if not prompt.strip():  # often an unset shell variable
            raise UsageError("--prompt is empty", hint="to render without a prompt, type `--set prompt=`")
    reads_stdin = [prompt.strip() == "-" for prompt in prompts]
    if not any(reads_stdin):
        return prompts
    if sum(reads_stdin) > 1 or prompt_file == "-":
        raise UsageError("stdin can be read only once", hint="write `-` once")
    example = "animdiff generate --prompt - < prompts.txt"
    lines = [line.strip() for line in read_stdin(example).split("\n") if line.strip()]
    if not lines:
        raise UsageError("stdin has no prompts", hint=f"write one prompt a line: `{example}`")
    return [text for prompt in prompts for text in (lines if prompt.strip() == "-" else [prompt])]


def read_prompt_options(
    prompt_at: list[str], negative_at: list[str], prompt_file: str | None, wildcards: Path | None
) -> "PromptOptions":
    """Read what is added to prompts. Raises `UsageError`, or `NotFound` for a missing file."""
    from animdiff_cli.core.prompt_travel import Travel, parse_keys
    from animdiff_cli.jobs.prompts import PromptOptions

    if prompt_at and prompt_file:
        raise UsageError("--prompt-at and --prompt-file cannot be combined", hint="write the texts into the file")
    travel = _read_file(prompt_file) if prompt_file else Travel(parse_keys(prompt_at, "--prompt-at"))
    return PromptOptions(travel, Travel(parse_keys(negative_at, "--negative-at")), wildcards, needs_wildcards=True)


def _read_file(name: str) -> "Travel":
    from animdiff_cli.config.yamlfile import read_text_file
    from animdiff_cli.core.prompt_travel import parse_prompt_file

    if name == "-":
        return parse_prompt_file(read_stdin("animdiff generate --prompt-file - < prompts.txt"), "stdin")
    return parse_prompt_file(read_text_file(Path(name)), name)
