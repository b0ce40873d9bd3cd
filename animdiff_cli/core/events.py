"""Progress events. Long-running functions emit them through a callback; only the command line prints."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath


@dataclass(frozen=True, slots=True)
class Loading:
    """Weights are being loaded."""

    what: str  # for example `pocket` or `motion module mm-v3`


@dataclass(frozen=True, slots=True)
class StepDone:
    """One denoising step is done. All counts start at 1."""

    step: int
    total: int  # steps of this clip
    job: int = 1  # index of the clip
    jobs: int = 1  # number of clips


@dataclass(frozen=True, slots=True)
class WindowDone:
    """`done` of `windows` context windows of one denoising step are done. `StepDone` follows the last."""

    done: int
    windows: int
    step: int  # the step they are of, from 1
    total: int
    job: int = 1
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class FramesDecoded:
    """The VAE has decoded `done` of `total` frames of a clip."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Measuring:
    """Metrics of clip `job` of `jobs` are being computed. Counts start at 1."""

    name: str
    job: int
    jobs: int


@dataclass(frozen=True, slots=True)
class Writing:
    """An output file is being written. It appears under this name when it is complete."""

    path: PurePath


@dataclass(frozen=True, slots=True)
class Written:
    """An output file is complete under its final name."""

    path: PurePath
    bytes: int


@dataclass(frozen=True, slots=True)
class Downloading:
    """A download starts. `bytes` is the total size, including parts from earlier runs; None if unknown."""

    files: int
    bytes: int | None


@dataclass(frozen=True, slots=True)
class BytesReceived:
    """`done` of `total` bytes of one file have arrived. `done` decreases if the transfer restarts."""

    name: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Downloaded:
    """One file is downloaded and verified."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """Training has precomputed `done` of `total` items."""

    what: str  # for example `latents`
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Checking:
    """A weight file or model folder is being hashed."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Trained:
    """One optimizer step is done. Steps count from 1 over the whole run, including resumed parts."""

    step: int
    total: int
    loss: float
    lr: float
    memory: int  # peak memory in bytes; 0 if unknown


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint is written; the run can resume from it."""

    path: Path
    step: int


@dataclass(frozen=True, slots=True)
class Note:
    """A message for the user, such as a fallback or a truncated prompt."""

    message: str


Event = (
    Loading
    | StepDone
    | WindowDone
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
    """Discard an event: the default handler."""
