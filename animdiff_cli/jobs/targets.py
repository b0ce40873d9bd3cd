"""Where the clips of a call go: one set of files per clip, chosen and checked before anything renders."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import get_args

from animdiff_cli import paths
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.choices import Format
from animdiff_cli.core.naming import DEFAULT_TEMPLATE, output_name
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import UsageError
from animdiff_cli.outputs import check_output, format_of, output_paths
from animdiff_cli.outputs.write import SUFFIXES


@dataclass(frozen=True, slots=True)
class Targets:
    """Files of each clip by format, in the order of the clips."""

    files: tuple[dict[Format, Path], ...]
    overwrite: bool


def choose_targets(
    configs: Sequence[GenerateConfig], output: str | None, formats: Sequence[str], *, overwrite: bool = False
) -> Targets:
    """Choose names. `output`: None for the output folder, a folder (ends in `/` or is one), a file, or a template.

    Raises `UsageError` if several clips would share one name, a suffix and the formats contradict each other, or a
    place cannot be written.
    """
    template, suffix_format = _template(output)
    wanted = [_format(name) for name in dict.fromkeys(formats)] or [suffix_format or "gif"]
    if suffix_format and suffix_format not in wanted:
        raise UsageError(
            f"`{output}` asks for {suffix_format}, `--format` for {', '.join(wanted)}",
            hint=f"leave the suffix out of `--output`, or add `--format {suffix_format}`",
        )
    now = datetime.now()  # local time: it names files for the person who looks at them
    stems = [_stem(template, config, now, index) for index, config in enumerate(configs, start=1)]
    if len(set(stems)) < len(stems):
        raise UsageError(
            f"{len(stems)} clips would share the name `{output}`",
            hint="tell them apart with `{seed}`, `{slug}` or `{index}` in `--output`, or give a folder",
        )
    files = tuple(output_paths(stem, wanted, overwrite=overwrite) for stem in stems)
    for config, chosen in zip(configs, files, strict=True):
        for format, path in chosen.items():
            check_output(path, format, config.fps)
    return Targets(files, overwrite)


def _format(name: str) -> Format:
    for known in get_args(Format):
        if name == known:
            return known
    formats = get_args(Format)
    raise UsageError(
        f"unknown output format `{name}`",
        hint=did_you_mean(name, formats, otherwise=f"formats are {', '.join(formats)}"),
    )


def _template(output: str | None) -> tuple[str, Format | None]:
    """Split what was typed into a template without suffix and the format its suffix asks for."""
    if output is None:
        return f"{paths.output_dir()}/{DEFAULT_TEMPLATE}", None
    if output.endswith(("/", "\\")) or Path(output).expanduser().is_dir():
        return f"{output.rstrip('/')}/{DEFAULT_TEMPLATE}", None
    suffix = Path(output).suffix
    if suffix.lower() not in SUFFIXES:
        format_of(Path(output))
    return output.removesuffix(suffix), SUFFIXES[suffix.lower()] if suffix else None


def _stem(template: str, config: GenerateConfig, now: datetime, index: int) -> Path:
    folder, slash, name = template.rpartition("/")
    model = Path(config.model).stem
    filled = output_name(config.prompt, config.seed, now, model=model, index=index, template=name)
    return Path(f"{folder}{slash}{filled}").expanduser()
