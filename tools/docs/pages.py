"""The reference pages of settings and environment variables, written by `python -m tools.docs`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import typer

from animdiff_cli.cli import app
from animdiff_cli.cli.train import PARAMETERS
from animdiff_cli.config.load import flag_names
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.settings import Setting, settings_of
from animdiff_cli.config.train_config import STAGE_DEFAULTS, TrainConfig
from animdiff_cli.config.train_layers import COMMANDS
from animdiff_cli.core.environment import VARIABLES

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
SETTINGS, ENVIRONMENT = REFERENCE / "settings.md", REFERENCE / "environment.md"

SETTINGS_HEAD = """\
# Settings

<!-- Written from the schema by `python -m tools.docs`. Do not edit. -->

Every setting can be written in a YAML file for `--config`, and as `--set KEY=VALUE`. Some have a flag of their own.
`animdiff config show` prints the settings that a render would use, with the source of each value.

## Renders

Settings of `animdiff generate`, of presets, and of the Python functions `generate` and `load`. Each can also be set as
an [environment variable](environment.md). The image model or motion module may recommend other defaults.
"""

TRAINING_HEAD = """
## Training

Settings of `animdiff train-lora`, `train-adapter` and `train-motion`, and of the Python function `train`. Keys that
begin with `data.` describe the data set; in YAML and Python, they are a mapping under `data`. Where the default depends
on the command, the other values are listed after it. The image model and the motion version may change the defaults of
`data.size`, `beta_schedule` and `beta_end`.
"""

ENVIRONMENT_HEAD = """\
# Environment variables

<!-- Written by `python -m tools.docs`. Do not edit. -->

| variable | effect |
|---|---|
"""

ENVIRONMENT_TAIL = """
## Settings of renders

Every [setting of a render](settings.md#renders) is also read from the variable `ANIMDIFF_` followed by its name in
capital letters. It overrides the preset and the config file; `--set` and flags override it. `null` empties a setting
that may be empty, and commas separate the entries of a list.

```console
$ export ANIMDIFF_STEPS=30 ANIMDIFF_LORAS=film-velvia@0.6,./mine.safetensors
```

A variable that begins with `ANIMDIFF_` and is none of these is refused, so that a typing error has no silent effect.
"""


def settings_page() -> str:
    """Return the page of settings."""
    flags = _flags("generate")
    names = {**flag_names(), "prompt": "prompt", "seed": "seed"}
    flags |= {"motion_module": f"{flags['motion_module']} {flags['no_motion']}"}
    render = [
        _row(setting, flags.get(names[key], ""), "random" if key == "seed" else _default(setting))
        for key, setting in settings_of(GenerateConfig).items()
    ]
    training = [
        _row(setting, _training_flags(key), _training_default(key, setting))
        for key, setting in settings_of(TrainConfig).items()
        if key != "stage"
    ]
    return "\n".join([SETTINGS_HEAD, *_table(render), TRAINING_HEAD, *_table(training), ""])


def environment_page() -> str:
    """Return the page of environment variables."""
    rows = "\n".join(f"| `{name}` | {effect} |" for name, effect in VARIABLES.items())
    return f"{ENVIRONMENT_HEAD}{rows}\n{ENVIRONMENT_TAIL}"


def _table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    head = ("setting", "flag", "value", "default", "description")
    lines = [head, ("---",) * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _row(setting: Setting, flag: str, default: str) -> tuple[str, ...]:
    allowed = setting.allowed
    if setting.choices:
        allowed = f"one of {', '.join(f'`{choice}`' for choice in setting.choices)}"
        allowed += " or null" if setting.is_optional else ""
    elif setting.reference and not setting.is_list:
        allowed = allowed.replace("text", "a reference", 1)
    return f"`{setting.key}`", flag, allowed, default, (setting.field.description or "").replace("|", "\\|")


def _default(setting: Setting) -> str:
    return "required" if setting.field.is_required() else _shown(setting.field.default)


def _training_default(key: str, setting: Setting) -> str:
    others = {stage: values[key] for stage, values in STAGE_DEFAULTS.items() if key in values}
    listed = [f"`{COMMANDS[stage].rpartition(' ')[2]}`: {_shown(value)}" for stage, value in others.items()]
    return "; ".join([_default(setting), *listed])


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "`true`", False: "`false`"}[value]
    if isinstance(value, tuple):
        return f"`{'-'.join(f'{end:g}' for end in value)}`" if value else "empty"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`" if value != "" else "empty"


def _flags(command: str) -> dict[str, str]:
    """Map each parameter of a command to its flags."""
    group: Any = typer.main.get_command(app)
    found: list[click.Parameter] = group.commands[command].params
    return {
        str(param.name): " ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
        for param in found
        if param.opts[0].startswith("-")
    }


def _training_flags(key: str) -> str:
    """Return the flags that set a key in any of the training commands."""
    names = PARAMETERS.get(key, (key.rpartition(".")[2],))
    found = [_flags(command.rpartition(" ")[2]).get(name, "") for command in COMMANDS.values() for name in names]
    if key == "spatial_rank":
        found = ["`--no-spatial-lora` (0)"]
    return ", ".join(dict.fromkeys(flags for flags in found if flags))
