"""`generate --via`: plan a render on this machine as far as it needs no weights, and let a server do the rest."""

import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animdiff_cli.config.input_settings import INPUT_SETTINGS, with_sources
from animdiff_cli.config.layers import DEFAULT, Layer, Resolved, resolve
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.settings import settings_of
from animdiff_cli.config.several_modules import with_first_module
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS
from animdiff_cli.core.event_records import EmitRecord, InterruptedRecord, NoteRecord, QueuedRecord, Record
from animdiff_cli.core.events import Emit, Event, FramesDecoded, Loading, Note, StepDone, WindowDone, Writing, Written
from animdiff_cli.core.formats import FORMATS, Format
from animdiff_cli.core.prompt_travel import describe_prompt
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.core.seeds import Job
from animdiff_cli.errors import AnimdiffError, NetworkError
from animdiff_cli.jobs.prompts import PromptOptions, plan_jobs, with_negative_travel
from animdiff_cli.jobs.serve.client import Busy, ServerClient
from animdiff_cli.jobs.serve.wire import URL, error_of
from animdiff_cli.paths import expanded
from animdiff_cli.storage.location import Location

if TYPE_CHECKING:
    from animdiff_cli.jobs.output_paths import OutputPaths

#: clips that are sent before the first is finished, so that the server never waits
AHEAD = 2
#: files of a folder of frames
_FRAME_FILE = re.compile(r"\d{1,9}\.png|recipe\.json")


@dataclass(frozen=True, slots=True)
class ViaPlan:
    """Clips that a server renders."""

    settings: tuple[Mapping[str, Any], ...]  # of each clip, as JSON, without those that have their defaults
    origins: Mapping[str, str]  # where settings come from
    configs: tuple[GenerateConfig, ...]  # for the names of files; what the model recommends is not in them
    seeds_drawn: bool


@dataclass(frozen=True, slots=True)
class ReceivedClip:
    """A clip whose files are written on this machine."""

    record: Mapping[str, Any]  # the `done` record of the server
    files: Mapping[Format, Location]


def plan_via(
    layers: Sequence[Layer],
    *,
    prompts: Sequence[str] = (),
    seeds: Sequence[int] = (),
    repeat: int = 1,
    options: PromptOptions,
) -> ViaPlan:
    """Plan the clips of `layers` like `plan_renders`, as far as this needs no weights. Raises `AnimdiffError`.

    Random words and seeds are drawn here. Relative paths are made absolute: a server on this machine may have been
    started elsewhere.
    """
    resolved = with_negative_travel(resolve(GenerateConfig, with_first_module(layers)), options.negative)
    jobs = plan_jobs(resolved, prompts, seeds, repeat, options)
    given = {key: _as_json(key, value) for key, value in resolved.values.items() if resolved.origins[key] != DEFAULT}
    given |= _absolute(given)
    return ViaPlan(
        tuple(given | _of_job(job) for job in jobs),
        {key: origin for key, origin in resolved.origins.items() if origin != DEFAULT},
        tuple(_config(resolved, job) for job in jobs),
        seeds_drawn=not seeds and "seed" not in resolved.values,
    )


def render_via(
    client: ServerClient,
    plan: ViaPlan,
    formats: Sequence[Format],
    choose_outputs: Callable[[], "OutputPaths"],
    emit: Emit,
    write: EmitRecord | None = None,
) -> Iterator[ReceivedClip]:
    """Let a server render every clip of a plan, and write its files here as a render on this machine would.

    `choose_outputs` is called when the server has work, because it imports much. `write` gets the event records, if
    any. Clips that are not finished are cancelled on Ctrl-C and on errors.
    """
    common = {"origins": plan.origins, "formats": list(formats), "keep": False}
    total = len(plan.configs)
    left = deque(range(total))
    sent: deque[tuple[int, str]] = deque()

    def send() -> None:
        while left and len(sent) < AHEAD:
            job = _submitted(client, {**plan.settings[left[0]], **common}, wait=not sent)
            if job is None:
                return
            sent.append((left.popleft(), job))

    try:
        send()
        outputs = choose_outputs()
        if write:
            for index, config in enumerate(plan.configs):
                write(_queued(str(index + 1), config, outputs.files[index]))
        while sent:
            index, job = sent[0]
            relay = _Relay(index + 1, total, emit, write)
            if plan.seeds_drawn:
                relay.note(f"seed {plan.configs[index].seed}, drawn at random")
            try:
                clip = _receive(client, job, outputs.files[index], outputs.overwrite, relay)
            except KeyboardInterrupt:
                relay.write(InterruptedRecord(job=None).record())
                raise
            sent.popleft()
            _forget(client, job)
            send()
            yield clip
    finally:
        for _, job in sent:
            _forget(client, job)


class _Relay:
    """Pass the records of a server on as events and records of this machine."""

    def __init__(self, number: int, total: int, emit: Emit, write: EmitRecord | None) -> None:
        self._number, self._total, self._emit, self._write = number, total, emit, write
        self.notes: list[str] = []

    def __call__(self, record: Mapping[str, Any]) -> None:
        match record:
            case {"event": "loading", "what": str(what)}:
                self._emit(Loading(what))
            case {
                "event": "step",
                "windows": int(windows),
                "window": int(done),
                "step": int(step),
                "steps": int(steps),
            }:
                self._emit(WindowDone(done, windows, step + 1, steps, self._number, self._total))
            case {"event": "step", "step": int(step), "steps": int(steps)}:
                self._emit(StepDone(step, steps, self._number, self._total))
            case {"event": "decoding", "frame": int(frame), "frames": int(frames)}:
                self._emit(FramesDecoded(frame, frames))
            case {"event": "note", "message": str(message)}:
                self._emit(Note(message))
        if record["event"] not in ("queued", "written", "done"):
            self.write(record)

    def note(self, message: str) -> None:
        """Add a note of this machine."""
        self.notes.append(message)
        self._emit(Note(message))
        self.write(NoteRecord(job=None, message=message).record())

    def event(self, event: Event) -> None:
        self._emit(event)

    def write(self, record: Mapping[str, Any]) -> None:
        if self._write:
            self._write({**record, "job": str(self._number)})


def _receive(
    client: ServerClient, job: str, files: Mapping[Format, Location], overwrite: bool, relay: _Relay
) -> ReceivedClip:
    """Follow a job to its end and write its files."""
    from animdiff_cli.outputs.store import store_output  # numpy loads here, while the server renders

    done: Mapping[str, Any] | None = None
    for record in client.events(job):
        relay(record)
        if record["event"] == "failed":
            raise error_of(record)
        if record["event"] == "interrupted":
            raise NetworkError("the server has cancelled the clip", hint="run the command again")
        done = record if record["event"] == "done" else None
    if done is None:
        raise NetworkError("the server has not finished the clip", hint="see its log")
    listed = client.job(job)["files"]
    written: dict[Format, Location] = {}
    for format, path in files.items():
        relay.event(Writing(path))
        of_format = [file for file in listed if file["format"] == format]
        write = partial(_download, client, job, format, of_format)
        written[format] = store_output(path, format, write, overwrite=overwrite)
        size = sum(file["bytes"] for file in of_format)
        relay.event(Written(written[format], size))
        relay.write({"event": "written", "version": 1, "path": str(written[format]), "bytes": size})
    outputs = {format: str(path) for format, path in written.items()}
    relay.write({**done, "outputs": outputs, "notes": [*relay.notes, *done["notes"]]})
    return ReceivedClip(done, written)


def _download(client: ServerClient, job: str, format: Format, files: Sequence[Mapping[str, Any]], to: Path) -> None:
    """Write the file of one format to a path, or its folder of frames."""
    if not files:
        raise NetworkError(f"the server has not written the clip as {format}", hint="see its log")
    if not FORMATS[format].is_folder:
        client.download(job, files[0], to)
        return
    to.mkdir()
    for file in files:
        name = str(file["path"]).rpartition("/")[2]
        if not _FRAME_FILE.fullmatch(name):
            raise NetworkError(f"the server has sent a file `{name}`", hint="check the URL and the port")
        client.download(job, file, to / name)


def _submitted(client: ServerClient, request: Mapping[str, Any], *, wait: bool) -> str | None:
    """Queue a clip and return its job. If the queue is full, wait for room, or return None if not `wait`."""
    while True:
        try:
            return client.submit(request)
        except Busy as busy:
            if not wait:
                return None
            time.sleep(busy.seconds)


def _forget(client: ServerClient, job: str) -> None:
    """Cancel a job that is not finished, and let the server remove the files of one that is."""
    with suppress(AnimdiffError):  # the server is gone, or has forgotten the job: nothing is left to do
        client.cancel(job)


def _as_json(key: str, value: object) -> Any:
    return settings_of(GenerateConfig)[key].adapter.dump_python(value, mode="json")


def _absolute(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that name local files, with absolute paths."""
    changed = {key: _absolute_refs(key, settings[key]) for key in WEIGHT_SETTINGS if settings.get(key)}
    for key, setting in INPUT_SETTINGS.items():
        if settings.get(key):
            changed[key] = with_sources(setting, changed.get(key, settings[key]), _absolute_path)
    return changed


def _absolute_refs(key: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_absolute_refs(key, entry) for entry in value]
    record = settings_of(GenerateConfig)[key].record
    if record is None:
        return _absolute_path(value) if parse_ref(value).source == "path" else value
    entry: Any = record.read(value)
    if parse_ref(entry.ref).source != "path":
        return value
    return entry.model_copy(update={"ref": _absolute_path(entry.ref)}).stored()


def _absolute_path(text: str) -> str:
    return text if URL.match(text) else str(expanded(text).absolute())


def _of_job(job: Job) -> dict[str, Any]:
    return {
        "prompt": _as_json("prompt", job.prompt),
        "negative_prompt": _as_json("negative_prompt", job.negative),
        "seed": job.seed,
    }


def _config(resolved: Resolved[GenerateConfig], job: Job) -> GenerateConfig:
    """Return what is known of a clip, unchecked: the model may recommend another length, for which curves are valid."""
    known = {**resolved.values, "prompt": job.prompt, "negative_prompt": job.negative, "seed": job.seed}
    return GenerateConfig.model_construct(**known)  # type: ignore[arg-type]  # checked one by one


def _queued(number: str, config: GenerateConfig, files: Mapping[Format, Location]) -> Record:
    paths = {format: str(path) for format, path in files.items()}
    name = f"{describe_prompt(_as_json('prompt', config.prompt))}, seed {config.seed}"
    return QueuedRecord(job=number, name=name, outputs=paths).record()
