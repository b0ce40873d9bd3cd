"""The pictures and videos that a render reads beside its weights: checked, hashed, and found again from a recipe."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from animdiff_cli.config.input_settings import (
    INPUT_SETTINGS,
    InputEntry,
    InputSetting,
    SteeredEntry,
    entries_of,
    with_sources,
)
from animdiff_cli.config.layers import Resolved
from animdiff_cli.config.load import how_to_set
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.text import counted
from animdiff_cli.errors import AnimdiffError, UsageError
from animdiff_cli.files.hashing import FileState, file_state, sha256_of
from animdiff_cli.jobs.media import HowToSet, OpenInput, num_cropped, num_late, open_input, place_frames, timeline_of
from animdiff_cli.outputs.read import list_images
from animdiff_cli.storage.inputs import local_input
from animdiff_cli.storage.location import Location, location

#: pixels: one side of a latent; a usual side of an image encoder
LATENT_SIDE, SQUARE = 8, 224
#: setting that names files, then file name to sha256
InputHashes = Mapping[str, Mapping[str, str]]


def check_inputs(config: GenerateConfig, resolved: Resolved[GenerateConfig]) -> list[str]:
    """Open every input that becomes frames of the clip. Returns notes on those that are cropped or end before it.

    `resolved` knows how each was given. Raises `NotFound` for a missing one, `UsageError` for one that cannot be read
    or does not fit the clip.
    """
    notes = []
    for setting in INPUT_SETTINGS.values():
        if setting.key == "continue_from":  # has a reader of its own
            continue
        for number, entry in enumerate(entries_of(setting, getattr(config, setting.key))):
            opened, key = open_input(entry.source, setting.flag), f"{setting.key}.{number}"
            how = partial(how_to_set, resolved, key if setting.is_list else setting.key)
            if note := _crop_note(setting, entry, opened, config, how):
                notes.append(note)
            if isinstance(entry, SteeredEntry) and (note := _steps_note(key, entry, config, how)):
                notes.append(note)
            if setting.key == "controls":  # `jobs.control` places its pictures, once the network is known
                continue
            timeline = timeline_of(entry, config.timeline)
            place_frames(opened, entry, timeline, how)
            if late := num_late(opened, entry, timeline):
                notes.append(late_note(entry, late, config.num_frames))
    return notes


def input_paths(config: GenerateConfig) -> list[Location]:
    """List the files and folders that a render reads beside its weights."""
    return [location(entry.source) for setting, entry in _entries(config.model_dump())]


def input_hashes(config: GenerateConfig) -> InputHashes:
    """Hash every input. Names are recorded without folders."""
    found: dict[str, dict[str, str]] = {}
    for setting, entry in _entries(config.model_dump()):
        hashes = found.setdefault(setting.key, {})
        for name, digest in _hashes(local_input(entry.source)).items():
            number = sum(known.partition("#")[0] == name for known in hashes)
            if digest not in hashes.values() or not number:
                hashes[f"{name}#{number + 1}" if number else name] = digest
    return found


def without_folders(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the bare name of each input, as a recipe holds them."""
    return _with_sources(settings, lambda source: location(source).name)


def found_beside(recipe_file: Location, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a recipe, with the path of each input that is beside the recipe."""

    def beside(name: str) -> str:
        path = recipe_file.parent / name
        return str(path) if path.exists() else name

    return _with_sources(settings, beside)


def differing_inputs(recipe: Mapping[str, Any], config: GenerateConfig) -> list[str]:
    """Return a note for each input that is not the file that `recipe` records under its name."""
    recorded, settings = recipe.get("inputs", {}), recipe["config"]
    names = {location(entry.source).name for _, entry in _entries(settings)}
    notes = []
    for setting, entry in _entries(config.model_dump()):
        path = location(entry.source)
        known = recorded.get(setting.key, {})
        if path.name not in names or not known or not path.exists():
            continue
        if not set(_hashes(local_input(path)).values()) <= set(known.values()):
            notes.append(f"{path.name} is not the file that the clip was rendered with: frames will differ")
    return notes


def _with_sources(settings: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    changed = dict(settings)
    for key, setting in INPUT_SETTINGS.items():
        if settings.get(key):
            with suppress(AnimdiffError, ValueError):  # an untrusted recipe: reported where all settings are checked
                changed[key] = with_sources(setting, settings[key], change)
    return changed


def _entries(settings: Mapping[str, Any]) -> list[tuple[InputSetting, InputEntry]]:
    try:
        return [
            (setting, entry)
            for key, setting in INPUT_SETTINGS.items()
            for entry in entries_of(setting, settings.get(key))
        ]
    except (AnimdiffError, ValueError):  # of an untrusted recipe
        return []


def _hashes(path: Path) -> Mapping[str, str]:
    files = list_images(path) if path.is_dir() else [path]
    return {file.relative_to(path.parent).as_posix(): _hash(file, file_state(file)) for file in files}


@lru_cache(maxsize=1 << 13)
def _hash(path: Path, state: FileState) -> str:
    return sha256_of(path)


def _steps_note(key: str, entry: SteeredEntry, config: GenerateConfig, how: HowToSet) -> str | None:
    """Say that no step is between `start` and `end`. Raises `UsageError` if none can be."""
    if entry.start >= entry.end:
        raise UsageError(
            f"`{key}` ends at {entry.end:g} of the steps and starts at {entry.start:g}",
            hint=f"leave one out, or set a later end: `{how('end', 1)}`",
        )
    steps = config.steps_taken
    if any(step / steps >= entry.start and (step + 1) / steps <= entry.end for step in range(steps)):
        return None
    return f"`{key}` has no effect: no whole step of {steps} is between {entry.start:g} and {entry.end:g}"


def _crop_note(
    setting: InputSetting, entry: InputEntry, opened: OpenInput, config: GenerateConfig, how: HowToSet
) -> str | None:
    """Say that a source of another shape than the clip loses its edges. None if they are less than a latent wide."""
    is_square = setting.key == "image_prompts"  # as image encoders are
    size = (SQUARE, SQUARE) if is_square else (config.width, config.height)
    if num_cropped(opened, entry, size) < LATENT_SIDE:
        return None
    shown = opened.timeline
    into = "a square" if is_square else f"{config.width}x{config.height}"
    return (
        f"{Path(entry.source).name} is {shown.width}x{shown.height} and is cropped to {into}:"
        f" `{how('fit', 'pad')}` keeps all of it"
    )


def late_note(entry: InputEntry, late: int, num_frames: int) -> str:
    """Say what follows an input that ends `late` frames before the clip."""
    then = "starts again" if entry.after_end == "loop" else "holds its last frame"
    name = Path(entry.source).name
    return f"{name} ends before the clip and {then} for {late} of its {counted(num_frames, 'frame')}"
