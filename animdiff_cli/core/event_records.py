"""Records of `--json` event streams: one JSON object an event, as `generate`, `batch` and `serve` write them.

The models are the source of the JSON Schema beside this file, which `python -m tools.docs` writes. A new event or a new
key keeps `VERSION`; a key that is removed or changes its meaning increases it.
"""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from animdiff_cli.core.events import Emit, Event, FramesDecoded, Loading, Note, StepDone, WindowDone, Written
from animdiff_cli.errors import AnimdiffError

VERSION: Final = 1

#: an event as JSON
Record = dict[str, Any]
EmitRecord = Callable[[Record], None]

#: events that say how a job ended; `-q` leaves only these
RESULTS: Final = frozenset({"done", "failed", "interrupted", "skipped"})

SECONDS_PER_STEP_RECORD = 1.0

Outputs = Annotated[Mapping[str, str], Field(description="Path of each file, by format.")]


def _publish(schema: dict[str, Any]) -> None:
    """Require `event`, `version` and `job`, which every record has, and allow keys that a later version may add."""
    schema.pop("additionalProperties")
    schema["required"] = list(dict.fromkeys(("event", "version", "job", *schema.get("required", ()))))


class _EventRecord(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_publish)

    event: str
    version: Literal[1] = Field(VERSION, description="Version of these records.")
    job: str | None = Field(description="Identity of the clip, the same in all its records; null for the whole run.")

    def record(self) -> Record:
        """Return the event as JSON. Keys without a value are left out, except `job`."""
        return {key: value for key, value in self if value is not None or key == "job"}


class QueuedRecord(_EventRecord):
    """A clip will be rendered. All clips are queued before the first one starts."""

    event: Literal["queued"] = "queued"
    name: str = Field(description="The clip in words, for people.")
    outputs: Outputs
    config: Mapping[str, Any] | None = Field(None, description="Settings, as far as known before weights are loaded.")


class StartedRecord(_EventRecord):
    """Work on a clip begins. The first clip of a process begins with loading the weights."""

    event: Literal["started"] = "started"
    worker: str | None = Field(None, description="The worker process, where there are several.")
    attempt: int = Field(1, ge=1, description="Above 1 if the clip has failed or was interrupted before.")


class LoadingRecord(_EventRecord):
    """Weights are being loaded."""

    event: Literal["loading"] = "loading"
    what: str = Field(description="For example `image model pocket`.")


class StepRecord(_EventRecord):
    """Denoising steps are done. The last step of a clip has a record; between others there is at least a second."""

    event: Literal["step"] = "step"
    step: int = Field(ge=0, description="Steps done.")
    steps: int = Field(ge=1, description="Steps of this clip.")
    window: int | None = Field(None, ge=1, description="Context windows done of the next step of a long clip.")
    windows: int | None = Field(None, ge=1, description="Context windows of that step.")


class DecodingRecord(_EventRecord):
    """The VAE decodes the frames. Throttled like `step`."""

    event: Literal["decoding"] = "decoding"
    frame: int = Field(ge=0, description="Frames done.")
    frames: int = Field(ge=1, description="Frames of this clip.")


class NoteRecord(_EventRecord):
    """A message for the user, such as a fallback or a seed that was drawn."""

    event: Literal["note"] = "note"
    message: str


class WrittenRecord(_EventRecord):
    """An output file is complete under its final name."""

    event: Literal["written"] = "written"
    path: str
    bytes: int = Field(ge=0)


class DoneRecord(_EventRecord):
    """A clip is rendered and all its files are written."""

    event: Literal["done"] = "done"
    outputs: Outputs
    seconds: float = Field(ge=0, description="Duration; the first clip of a process includes loading.")
    notes: tuple[str, ...] = Field((), description="Notes emitted while this clip was rendered.")
    worker: str | None = Field(None, description="The worker process, where there are several.")
    comparison: Mapping[str, Any] | None = Field(
        None, description="With `--compare-exact`: PSNR and SSIM against the exact clip, seconds and measures of both."
    )
    config: Mapping[str, Any] = Field(description="Settings, as in the recipe inside each file.")
    weights: Mapping[str, Mapping[str, str]] = Field(description="sha256 of each weight file, by setting.")
    inputs: Mapping[str, Mapping[str, str]] | None = Field(None, description="sha256 of other files that were read.")
    device: str = Field(description="Kind of the device: cpu, cuda or mps.")
    low_vram: str | None = Field(None, description="What was done to save memory on the device, such as `offload`.")
    cpu_arithmetic: str | None = Field(
        None, description="What computed layers on a CPU: `avx512`, `avx2` or `torch`. They differ by rounding."
    )
    versions: Mapping[str, str] = Field(description="Versions of packages that can change a pixel.")


class FailedRecord(_EventRecord):
    """A clip could not be rendered."""

    event: Literal["failed"] = "failed"
    error: str = Field(description="What failed, and why.")
    hint: str | None = Field(None, description="What to type next.")
    code: int = Field(description="Exit code of this failure; 1 is a bug.")
    worker: str | None = Field(None, description="The worker process, where there are several.")
    attempt: int = Field(1, ge=1, description="How often the clip has been tried.")
    retry: bool = Field(False, description="The clip will be tried again.")


class InterruptedRecord(_EventRecord):
    """Work on a clip was stopped by a signal."""

    event: Literal["interrupted"] = "interrupted"
    worker: str | None = Field(None, description="The worker process, where there are several.")


class SkippedRecord(_EventRecord):
    """Files of an earlier command are complete. If the clip lacks other formats, it is queued for those."""

    event: Literal["skipped"] = "skipped"
    outputs: Outputs
    config: Mapping[str, Any] | None = Field(None, description="Settings of the clip.")


EventRecord = Annotated[
    QueuedRecord
    | StartedRecord
    | LoadingRecord
    | StepRecord
    | DecodingRecord
    | NoteRecord
    | WrittenRecord
    | DoneRecord
    | FailedRecord
    | InterruptedRecord
    | SkippedRecord,
    Field(discriminator="event"),
]


def record(event: Event, job: str | None) -> Record | None:
    """Return the record of a progress event of a job; None for an event that streams do not have."""
    match event:
        case Loading(what):
            return LoadingRecord(job=job, what=what).record()
        case StepDone(step, total):
            return StepRecord(job=job, step=step, steps=total).record()
        case WindowDone(done, windows, step, total):
            return StepRecord(job=job, step=step - 1, steps=total, window=done, windows=windows).record()
        case FramesDecoded(done, total):
            return DecodingRecord(job=job, frame=done, frames=total).record()
        case Written(path, size):
            return WrittenRecord(job=job, path=str(path), bytes=size).record()
        case Note(message):
            return NoteRecord(job=job, message=message).record()
    return None


def failed(job: str, error: Exception, *, worker: str | None = None, attempt: int = 1, retry: bool = False) -> Record:
    """Return the record of a failure. An exception that is no `AnimdiffError` is a bug: code 1."""
    known = isinstance(error, AnimdiffError)
    return FailedRecord(
        job=job,
        error=str(error) if known else f"{type(error).__name__}: {error}",
        hint=error.hint if isinstance(error, AnimdiffError) else None,
        code=error.exit_code if isinstance(error, AnimdiffError) else 1,
        worker=worker,
        attempt=attempt,
        retry=retry,
    ).record()


def recorder(job: str, write: EmitRecord, clock: Callable[[], float]) -> Emit:
    """Return an event handler that writes the record of every progress event of a job.

    Of `step` and `decoding`, the last is written, and others `SECONDS_PER_STEP_RECORD` apart. `clock` counts seconds:
    `time.monotonic`.
    """
    last: dict[str, float] = {}  # event → when it was written

    def emit(event: Event) -> None:
        written = record(event, job)
        if written is None:
            return
        if isinstance(event, (StepDone, WindowDone, FramesDecoded)):
            kind, now = written["event"], clock()
            is_last = written.get("step") == written.get("steps") and written.get("frame") == written.get("frames")
            if not is_last and now - last.get(kind, -SECONDS_PER_STEP_RECORD) < SECONDS_PER_STEP_RECORD:
                return
            last[kind] = now
        write(written)

    return emit


def json_schema() -> str:
    """Return the JSON Schema of one record."""
    schema: dict[str, Any] = TypeAdapter(EventRecord).json_schema()
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"animdiff event record, version {VERSION}",
    }
    return json.dumps(head | schema, indent=2) + "\n"
