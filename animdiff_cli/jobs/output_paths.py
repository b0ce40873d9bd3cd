"""Choose and check the files of every clip before anything renders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.formats import Format
from animdiff_cli.core.naming import DEFAULT_TEMPLATE, output_name
from animdiff_cli.core.prompt_travel import texts_of
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.inputs import input_paths
from animdiff_cli.jobs.output_place import OutputPlace, parse_output
from animdiff_cli.outputs import check_output, free_path, is_taken, numbered, output_paths
from animdiff_cli.storage.location import Location, RemotePath

NUMBERED_TEMPLATE = DEFAULT_TEMPLATE + "_{index}"


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """Files of each clip by format, in the order of the clips."""

    files: tuple[dict[Format, Location], ...]
    overwrite: bool
    #: files of each clip that exist already, with `is_done`; a clip without any in `files` is complete
    done: tuple[dict[Format, Location], ...] = ()


def choose_output_paths(
    configs: Sequence[GenerateConfig],
    output: str | None,
    formats: Sequence[str],
    *,
    overwrite: bool = False,
    is_done: Callable[[GenerateConfig, Location], bool] | None = None,
) -> OutputPaths:
    """Choose the files of each clip.

    `output` is a folder (ends in `/` or exists), a file, or a template, also on a storage system; None is the default
    output folder. Files for which `is_done` returns True are left out, also under the names with `-2`, `-3` … that an
    earlier call may have chosen. Raises `UsageError` if several clips would have the same name, if the suffix
    contradicts `formats`, or if a file cannot be written; `NotFound` for a missing bucket, and `NetworkError`.
    """
    place, wanted = parse_output(output, formats)
    if is_done and "{time}" in place.template:
        raise UsageError("--skip-existing finds no file by a name with `{time}`", hint="leave `{time}` out")
    stems = _stems(place, configs)
    files = tuple(_files(stem, wanted, place.suffix, overwrite) for stem in stems)
    done: tuple[dict[Format, Location], ...] = tuple({} for _ in configs)
    if is_done:
        names = (_files(stem, wanted, place.suffix, overwrite=True) for stem in stems)
        found = [_resumed(paths, partial(is_done, config)) for paths, config in zip(names, configs, strict=True)]
        files = tuple(rest if rest is not None else new for (rest, _), new in zip(found, files, strict=True))
        done = tuple(present for _, present in found)
    for config, chosen in zip(configs, files, strict=True):
        for format, path in chosen.items():
            check_output(path, format, config.fps, overwrite=overwrite)
            check_not_read(path, config)
    return OutputPaths(files, overwrite, done)


def check_not_read(path: Location, config: GenerateConfig) -> None:
    """Raise `UsageError` for a clip that would replace a file that it is rendered from."""
    for source in input_paths(config):
        if _is_same(path, source):
            raise UsageError(
                f"`{path}` is read for this clip, and would be replaced",
                hint="choose another `--output`, or leave `--overwrite` out",
            )


def _is_same(path: Location, other: Location) -> bool:
    """True if both are the same file, which exists."""
    if isinstance(path, RemotePath) or isinstance(other, RemotePath):
        return path == other and path.exists()
    return other.exists() and path.exists() and path.samefile(other)


def _stems(place: OutputPlace, configs: Sequence[GenerateConfig]) -> list[Location]:
    now = datetime.now()  # local time, for file names
    stems = _filled(place, place.template, configs, now)
    if len(set(stems)) == len(stems):
        return stems
    if place.template == DEFAULT_TEMPLATE:  # prompts with the same beginning
        return _filled(place, NUMBERED_TEMPLATE, configs, now)
    raise UsageError(
        f"{len(stems)} clips would have the same name `{place.template}{place.suffix}`",
        hint="use `{seed}`, `{slug}` or `{index}` in `--output`, or give a folder",
    )


def _filled(place: OutputPlace, template: str, configs: Sequence[GenerateConfig], now: datetime) -> list[Location]:
    return [
        place.folder
        / output_name(
            texts_of(config.prompt)[0], config.seed, now, model=Path(config.model).stem, index=index, template=template
        )
        for index, config in enumerate(configs, start=1)
    ]


def _resumed(
    paths: dict[Format, Location], is_done: Callable[[Location], bool]
) -> tuple[dict[Format, Location] | None, dict[Format, Location]]:
    """Find the files of a clip that are done, under the first number that has any.

    Returns the files to write beside them, None if there are none, and the files that are done.
    """
    for candidates in numbered(list(paths.values())):
        named = dict(zip(paths, candidates, strict=True))
        present = {format: path for format, path in named.items() if is_taken(path)}
        if not present:
            return None, {}
        if all(is_done(path) for path in present.values()):
            return {format: path for format, path in named.items() if format not in present}, present
    raise AssertionError("unreachable: numbers do not end")


def _files(stem: Location, formats: Sequence[Format], suffix: str, overwrite: bool) -> dict[Format, Location]:
    if suffix and len(formats) == 1:
        return {formats[0]: free_path(stem.with_name(stem.name + suffix), overwrite)}
    return output_paths(stem, formats, overwrite=overwrite)
