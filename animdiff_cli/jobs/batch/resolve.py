"""Resolve a batch: read the whole file, resolve every job and name its files. Opens no weights."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from animdiff_cli.config.layers import Layer, Resolved, resolve
from animdiff_cli.config.load import gather
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.prompt_travel import texts_of
from animdiff_cli.core.seeds import RANDOM_SEEDS, Job
from animdiff_cli.core.text import counted
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.batch.expand import DEFAULT_LIMIT, JobEntry, Row, checked_defaults, checked_names, expand
from animdiff_cli.jobs.batch.file import JOB_KEYS, BatchFile, at, parse_batch
from animdiff_cli.jobs.batch.mistakes import Mistakes
from animdiff_cli.jobs.batch.names import Named, canonical, name_outputs, output_place
from animdiff_cli.jobs.batch.records import BatchJob, Resolvable
from animdiff_cli.jobs.batch.select import select
from animdiff_cli.jobs.prompt_embeddings import with_named_embeddings
from animdiff_cli.jobs.prompts import PromptOptions, plan_jobs
from animdiff_cli.jobs.resolve import resolve_render


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Settings from outside of the batch file. They are defaults: what a job sets itself wins.

    Lowest first: preset, config file, `defaults` of the batch file, environment, `--set`, flags. A preset here
    replaces that of the files.
    """

    preset: str | None = None
    config_file: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    assignments: Sequence[str] = ()
    flags: Mapping[str, object] = field(default_factory=dict)
    wildcards: Path | None = None


NO_SETTINGS = BatchSettings()


@dataclass(frozen=True, slots=True)
class ResolvedBatch:
    """The jobs of a batch, with their settings and files."""

    source: str  # name of the file, for messages
    output: str  # folder or URL that holds the outputs
    jobs: tuple[Resolvable, ...]
    notes: tuple[str, ...]
    mistakes: Mistakes  # found so far


def resolve_batch(
    text: str,
    name: str,
    *,
    output: str | None = None,
    formats: Sequence[str] = (),
    settings: BatchSettings = NO_SETTINGS,
    only: Sequence[str] = (),
    limit: int = DEFAULT_LIMIT,
    allow_date: bool = False,
) -> ResolvedBatch:
    """Resolve the jobs in the `text` of a batch file called `name`. Arguments are those of `plan_batch`.

    Mistakes of single jobs are collected. Raises `AnimdiffError` if the file as a whole has one.
    """
    mistakes = Mistakes()
    file = checked_names(parse_batch(text, name, mistakes), mistakes)
    defaults = checked_defaults(file, mistakes)
    entries = expand(file, limit, mistakes)
    if defaults is None or not entries:
        mistakes.raise_found(name)
        raise UsageError(f"{name} has no jobs: all of them are excluded", hint="remove an entry of `exclude`")
    resolver = _Resolver(file, defaults, settings)
    resolver.refuse_unused(entries)
    clips = []
    for entry in entries:
        with mistakes.collected(entry.name):
            clips.append(resolver.clip(entry))
    clips, notes = _without_repeated(clips)
    folder, template = output_place(output, name)
    named = [_named(clip, file, template, formats) for clip in clips]
    outputs = name_outputs(named, folder, mistakes, allow_date=allow_date)
    jobs = [BatchJob(clip.entry.name, clip.config, files, 0) for clip, files in zip(clips, outputs, strict=True)]
    chosen: list[int] = []
    with mistakes.collected():
        chosen = select(jobs, only)
    planned = [Resolvable(jobs[number], clips[number].resolved, clips[number].job) for number in chosen]
    if resolver.without_seed:
        notes.append(f"no seed was given for {counted(resolver.without_seed, 'job')}: it is made from the prompt")
    return ResolvedBatch(name, folder, tuple(planned), tuple(notes), mistakes)


@dataclass(frozen=True, slots=True)
class _Clip:
    """One resolved job."""

    entry: JobEntry
    resolved: Resolved[GenerateConfig]
    job: Job
    config: GenerateConfig
    preset: str


class _Resolver:
    """Resolves the settings of jobs. Jobs that differ in prompt and seed alone are resolved together."""

    def __init__(self, file: BatchFile, defaults: Row, settings: BatchSettings) -> None:
        self._file, self._settings = file, settings
        self._defaults = defaults
        self._above = gather(environ=settings.environ, assignments=settings.assignments, flags=settings.flags)
        below = gather(preset=settings.preset, config_file=settings.config_file)
        resolve(GenerateConfig, [*below, *self._above])  # a mistake here is of no job
        self._options = PromptOptions(wildcards=settings.wildcards)
        self._resolved: dict[Any, Resolved[GenerateConfig]] = {}
        self._with_embeddings: dict[Any, Resolved[GenerateConfig]] = {}
        self.without_seed = 0

    def refuse_unused(self, entries: Sequence[JobEntry]) -> None:
        """Raise `UsageError` for an option that every job replaces."""
        for layer in self._above:
            for key in layer.values if layer.source in ("--set", "command line") else ():
                if entries and all(key in entry.values for entry in entries):
                    origin = layer.origin(key)
                    flag = f"{origin} {key}" if origin == "--set" else origin
                    raise UsageError(
                        f"`{flag}` has no effect: every job of {self._file.name} sets `{key}`",
                        hint=f"leave it out, or remove `{key}` from the file",
                    )

    def clip(self, entry: JobEntry) -> _Clip:
        """Resolve one job. Raises `AnimdiffError`."""
        values = entry.values
        preset = self._preset(entry)
        own = {key: value for key, value in values.items() if key not in ("prompt", "seed", *JOB_KEYS)}
        key = (preset, *((name, repr(value.value)) for name, value in sorted(own.items())))
        if key not in self._resolved:
            self._resolved[key] = self._resolve(own, preset)
        resolved = self._resolved[key]
        texts = {name: values[name].value for name in ("prompt", "seed") if name in values}
        resolved = replace(resolved, values=MappingProxyType({**resolved.values, **texts}))
        if "prompt" not in resolved.values:
            raise UsageError("no `prompt` was given", hint="write one into the job, the matrix or `defaults`")
        if "seed" not in resolved.values:
            self.without_seed += 1
            seed = _seed_of(resolved.values["prompt"])
            resolved = replace(resolved, values=MappingProxyType({**resolved.values, "seed": seed}))
        (job,) = plan_jobs(resolved, (), (), 1, self._options)
        named = with_named_embeddings(resolved, [job])
        config = named.build(prompt=job.prompt, negative_prompt=job.negative, seed=job.seed)
        shared = self._with_embeddings.setdefault((key, named.values["embeddings"]), named)
        return _Clip(entry, shared, job, config, preset or "")

    def _preset(self, entry: JobEntry) -> str | None:
        for values in (entry.values, {} if self._settings.preset else self._defaults):
            if "preset" in values:
                return str(values["preset"].value)
        return self._settings.preset

    def _resolve(self, own: Row, preset: str | None) -> Resolved[GenerateConfig]:
        below = gather(preset=preset, config_file=self._settings.config_file)
        defaults = {key: value for key, value in self._defaults.items() if key != "preset"}
        layers = [*below, self._layer(defaults), *self._above, self._layer(own)]
        if not any("model" in layer.values for layer in layers):
            raise UsageError("no image model was given", hint="add `--model pocket`, or `model: pocket` to the file")
        return resolve_render(layers)

    def _layer(self, row: Row) -> Layer:
        values = {key: value.value for key, value in row.items()}
        return Layer(self._file.name, values, {key: at(self._file.name, value.line) for key, value in row.items()})


def _seed_of(prompt: Any) -> int:
    """Return the seed of a job without one: the same for the same prompt."""
    digest = hashlib.sha256("\n".join(texts_of(prompt)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % RANDOM_SEEDS


def _named(clip: _Clip, file: BatchFile, template: str | None, formats: Sequence[str]) -> Named:
    values = clip.entry.values
    place = "--output"
    if "output" in values:
        template, place = values["output"].value, clip.entry.name
    elif template is None and file.output:
        template, place = file.output.value, at(file.name, file.output.line)
    own = values.get("formats")
    written = own.value if own else formats or (file.formats.value if file.formats else ())
    return Named(clip.entry.name, clip.config, template, place, written, clip.preset, frozenset(values))


def _without_repeated(clips: list[_Clip]) -> tuple[list[_Clip], list[str]]:
    """Leave out jobs that are the same clip as an earlier one under the same name, with a note."""
    first: dict[Any, _Clip] = {}
    kept, notes = [], []
    for clip in clips:
        values = clip.entry.values
        key = canonical(clip.config), *(repr(values[name].value) for name in ("output", "formats") if name in values)
        if (other := first.setdefault(key, clip)) is clip:
            kept.append(clip)
        else:
            notes.append(f"{clip.entry.name} is the same clip as {other.entry.name}, and is rendered once")
    return kept, notes
