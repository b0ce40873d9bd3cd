"""`--control`: the pictures of each ControlNet and SparseCtrl, checked before weights load and read for a clip."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from animdiff_cli.config.input_settings import ControlEntry
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.choices import Preprocessor
from animdiff_cli.core.events import Emit, Loading, ignore
from animdiff_cli.core.where import Timeline
from animdiff_cli.diffusion.conditions import Condition, ControlCondition, SparseControlCondition, Strength
from animdiff_cli.diffusion.control import ControlFile
from animdiff_cli.diffusion.detectors import DetectorFile, load_detector
from animdiff_cli.diffusion.encode import Encode
from animdiff_cli.diffusion.pictures import ClipPictures, joined
from animdiff_cli.diffusion.windows import clip_windows
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.inputs import late_note
from animdiff_cli.jobs.media import HowToSet, OpenInput, num_late, open_input, place_frames, read_for_clip
from animdiff_cli.jobs.preprocess import preprocessor
from animdiff_cli.jobs.preprocess_choice import FLAG, choose_preprocessor, open_weights_of
from animdiff_cli.motion import MotionSpec
from animdiff_cli.outputs.ffmpeg import Frames


@dataclass(frozen=True, slots=True)
class PlannedControl:
    """One control of a clip: what it reads, and what makes control pictures of that."""

    entry: ControlEntry
    opened: OpenInput
    preprocess: Preprocessor
    detector: DetectorFile | None = None  # of a preprocessor that has a network


@dataclass(frozen=True, slots=True)
class DetectorLoading:
    """Where networks that make control pictures are loaded from and to."""

    weights: Sequence[Path]
    device: torch.device
    emit: Emit = ignore

    def load(self, opened: DetectorFile) -> Callable[[Frames], Frames]:
        """Load one network, and report it."""
        self.emit(Loading(f"preprocessor {opened.file.path.name}"))
        return load_detector(opened, self.device)


#: for hints: what to type to set a field of an entry such as `controls.1`
HowToSetEntry = Callable[[str, str, object], str]


def _by_key(entry: str, field: str, value: object) -> str:
    return f"--set {entry}.{field}={value}"


def plan_controls(
    config: GenerateConfig,
    files: Sequence[ControlFile],
    preprocess_weights: Sequence[Path] = (),
    how_to_set: HowToSetEntry = _by_key,
) -> list[PlannedControl]:
    """Open the sources of `config.controls`, whose networks are `files`, and choose their preprocessors.

    Raises `NotFound` and `UsageError` for sources that are missing, unreadable or do not fit the clip, and as
    `open_weights_of`.
    """
    planned = []
    for number, (value, file) in enumerate(zip(config.controls, files, strict=True)):
        entry, how = ControlEntry.read(value), partial(how_to_set, f"controls.{number}")
        opened = open_input(entry.source, FLAG)
        if file.kind == "sparsectrl":
            entry = _at_keyframes(entry, opened, config.num_frames, how)
        place_frames(opened, entry, config.timeline, how)
        name: Preprocessor = "none"
        if not file.takes_latents or (entry.preprocess or config.preprocess) != "auto":
            name = choose_preprocessor(entry, opened, config.preprocess, [file.path.name])
        planned.append(PlannedControl(entry, opened, name, open_weights_of(name, preprocess_weights)))
    return planned


def check_controls(
    config: GenerateConfig,
    files: Sequence[ControlFile],
    spec: MotionSpec | None,
    preprocess_weights: Sequence[Path],
    how_to_set: HowToSetEntry,
) -> list[str]:
    """Check the controls of a clip before weights load; return notes. Raises as `plan_controls`.

    Also raises `UsageError` for windows that are longer than a SparseCtrl supports.
    """
    planned, notes = plan_controls(config, files, preprocess_weights, how_to_set), []
    used = [control.detector.file.path for control in planned if control.detector]
    notes += [f"{path.name} is not used: no control needs it" for path in preprocess_weights if path not in used]
    for numbers in _together(planned, files):
        placed = {n: place_frames(planned[n].opened, planned[n].entry, config.timeline) for n in numbers}
        _check_frames(placed, how_to_set)
    windows = clip_windows(config, spec)
    length = windows.length if windows else config.num_frames
    for control, file in zip(planned, files, strict=True):
        if control.detector is None:
            preprocessor(control.preprocess)  # OpenCV is installed
        if file.spec and length > file.spec.max_frames:
            raise UsageError(
                f"{file.path.name} sees {file.spec.max_frames} frames at once, and the motion module {length}",
                hint=f"use `--context-length {min(file.spec.max_frames, 16)}`",
            )
        if file.kind == "sparsectrl" and control.entry.guess_mode:
            raise UsageError("a SparseCtrl has no guess mode", hint="leave `guess_mode` out")
        if file.kind == "sparsectrl" and file.base != "pocket" and config.domain_adapter is None:
            notes.append(f"{file.path.name} was trained beside a domain adapter: add `--domain-adapter v3-adapter`")
        if control.preprocess != "none":
            notes.append(f"{control.opened.path.name} becomes a control picture by `{control.preprocess}`")
        if late := num_late(control.opened, control.entry, config.timeline):
            notes.append(late_note(control.entry, late, config.num_frames))
    return notes


def read_controls(
    config: GenerateConfig,
    files: Sequence[ControlFile],
    networks: Sequence[Any],
    encode: Encode,
    timeline: Timeline,
    loading: DetectorLoading,
) -> list[tuple[PlannedControl, Condition, ClipPictures]]:
    """Read the pictures of every control, and return its condition with them.

    Pictures of one SparseCtrl are one condition: the network is to see all of them at once.
    """
    read: list[tuple[PlannedControl, Condition, ClipPictures]] = []
    size = config.width, config.height
    planned = plan_controls(config, files, loading.weights)
    parts = []
    for control in planned:  # one network after the other is loaded, and freed before the next
        detect = loading.load(control.detector) if control.detector else None
        transform = preprocessor(control.preprocess, detect)
        parts.append(read_for_clip(control.opened, control.entry, timeline, size, transform))
        del detect, transform
    for numbers in _together(planned, files):
        control, file, network = planned[numbers[0]], files[numbers[0]], networks[numbers[0]]
        pictures = joined([parts[number] for number in numbers])
        entry = control.entry
        strength = Strength(entry.scale, entry.start, entry.end)
        condition: Condition
        if file.kind == "sparsectrl":
            through_vae = encode if file.takes_latents else None
            condition = SparseControlCondition(network, pictures, strength, through_vae)
        else:
            condition = ControlCondition(network, pictures, strength, entry.guess_mode)
        read.append((control, condition, pictures))
    return read


def save_pictures(pictures: ClipPictures, folder: Path) -> None:
    """Write what a network sees, one PNG for each frame that has a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame, number in enumerate(pictures.of_frame):
        if number is not None:
            Image.fromarray(np.asarray(pictures.pictures[number])).save(folder / f"{frame:05d}.png")


def _together(planned: Sequence[PlannedControl], files: Sequence[ControlFile]) -> list[list[int]]:
    """Group the numbers of controls: those of one SparseCtrl at one strength are together."""
    groups: dict[object, list[int]] = {}
    for number, (control, file) in enumerate(zip(planned, files, strict=True)):
        entry = control.entry
        strength = entry.scale, entry.start, entry.end, control.preprocess
        key = (file.path, *strength) if file.kind == "sparsectrl" else number
        groups.setdefault(key, []).append(number)
    return list(groups.values())


def _check_frames(placed: Mapping[int, Sequence[int | None]], how_to_set: HowToSetEntry) -> None:
    """Raise `UsageError` if two pictures of one SparseCtrl, by number of their control, are at one frame."""
    for frame, shown in enumerate(zip(*placed.values(), strict=True)):
        here = [control for control, number in zip(placed, shown, strict=True) if number is not None]
        if len(here) > 1:
            first, second = (how_to_set(f"controls.{n}", "frames", at) for n, at in zip(here[:2], (0, -1), strict=True))
            raise UsageError(
                f"two pictures of one SparseCtrl are at frame {frame}",
                hint=f"give each its own frames, as in `{first}` and `{second}`",
            )


def _at_keyframes(entry: ControlEntry, opened: OpenInput, num_frames: int, how_to_set: HowToSet) -> ControlEntry:
    """Put one picture at frame 0, where a SparseCtrl is told no frames. Raises `UsageError` for several."""
    count = len(opened.timeline.times)
    if entry.frames or opened.has_rate or (count == num_frames and entry.section is None):
        return entry
    if count > 1 and entry.section is None:
        raise UsageError(
            f"`{opened.path}` has {count} pictures, and a SparseCtrl must know their frames",
            hint=f"name them: `{how_to_set('frames', '0,50%,-1')}`",
        )
    return entry.model_copy(update={"frames": "0"})
