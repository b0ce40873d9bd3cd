"""What long work tells whoever is watching. Work emits, only the command line prints."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Loading:
    """Weights are being read."""

    what: str  # as the user named it: `pocket`, `motion module mm-v3`


@dataclass(frozen=True, slots=True)
class StepDone:
    """One denoising step of one clip is done. All counts start at 1."""

    step: int
    total: int  # steps of this clip
    job: int = 1
    jobs: int = 1  # clips of this call


@dataclass(frozen=True, slots=True)
class FramesDecoded:
    """The image decoder has finished `done` of `total` frames of a clip."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Measuring:
    """A clip is being measured, `job` of `jobs`, counted from 1."""

    name: str
    job: int
    jobs: int


@dataclass(frozen=True, slots=True)
class Writing:
    """An output file was begun; it appears under this name when it is complete."""

    path: Path


@dataclass(frozen=True, slots=True)
class Written:
    """An output file is complete under its final name."""

    path: Path
    bytes: int


@dataclass(frozen=True, slots=True)
class Downloading:
    """So much will be brought here in all. `bytes` counts what earlier runs left as well; None where nobody knows."""

    files: int
    bytes: int | None


@dataclass(frozen=True, slots=True)
class BytesReceived:
    """Of one file `done` bytes are here, of `total`; less than before when it had to start again."""

    name: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Downloaded:
    """One file of a download is here, whole and verified."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """Of what training computes once and keeps, `done` of `total` is there."""

    what: str  # such as `latents`
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Checking:
    """A file or folder of weights is being read to compare its hash."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Trained:
    """One optimiser step is done. Steps count from 1 over the whole run, earlier sittings included."""

    step: int
    total: int
    loss: float
    lr: float
    memory: int  # bytes in use at the peak so far; 0 where nobody knows


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint is complete: from here the run can go on."""

    path: Path
    step: int


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know, said once: a fallback taken, a prompt cut short."""

    message: str


Event = (
    Loading
    | StepDone
    | FramesDecoded
    | Measuring
    | Writing
    | Written
    | Downloading
    | BytesReceived
    | Downloaded
    | Prepared
    | Checking
    | Trained
    | Saved
    | Note
)
Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Watch nothing: the default where the caller gives no watcher."""
