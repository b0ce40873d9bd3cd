"""Names of the outputs of a batch: they tell its jobs apart, and are the same whenever the batch is planned."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from animdiff_cli import paths
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.settings import settings_of
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS, WeightEntry, WeightSetting
from animdiff_cli.core.formats import CLIP_SUFFIXES, FORMATS, IMAGE_SUFFIXES, Format, format_of, parse_format
from animdiff_cli.core.naming import FIELDS, output_name, slug, template_fields
from animdiff_cli.core.prompt_travel import texts_of
from animdiff_cli.core.refs import WEIGHT_SUFFIXES
from animdiff_cli.core.text import counted
from animdiff_cli.core.timing import check_fps
from animdiff_cli.errors import AnimdiffError, UsageError
from animdiff_cli.jobs.batch.mistakes import Mistakes
from animdiff_cli.jobs.output_paths import check_not_read
from animdiff_cli.outputs import check_output
from animdiff_cli.storage.location import RemotePath, location
from animdiff_cli.storage.outputs import check_remote_output, output_location

DEFAULT_TEMPLATE = "{slug}_{seed}"
DATED = ("date", "time")
#: fields beside those of `generate --output`
BATCH_FIELDS = ("preset", *(key for key in settings_of(GenerateConfig) if key not in (*FIELDS, "prompt")), "id")

Outputs = dict[Format, str]


@dataclass(frozen=True, slots=True)
class Named:
    """What the name of one job is made of."""

    job: str  # for messages
    config: GenerateConfig
    template: str | None = None  # None: the default
    place: str = ""  # where the template stands, for messages
    formats: Sequence[str] = ()  # as written; empty: by the suffix of the template
    preset: str = ""
    own: frozenset[str] = field(default_factory=frozenset)  # keys that the job sets itself


def output_place(output: str | None, name: str) -> tuple[str, str | None]:
    """Split `--output` into the folder or URL of a batch and a template, None if it has none.

    >>> output_place("night/{slug}.gif", "night.yaml")
    ('night', '{slug}.gif')
    """
    if output is None:
        stem = Path(name).stem if Path(name).suffix else "batch"
        return str(location(paths.output_dir()) / slug(stem)), None
    if output in ("", "-"):
        what = "--output is empty" if not output else "clips are not written to stdout"
        raise UsageError(what, hint="name a folder, as in `--output night/`")
    folder, template = output, None
    if "{" in output:
        cut = output.rfind("/", 0, output.find("{")) + 1
        folder, template = output[:cut] or ".", output[cut:]
    folder = folder.rstrip("/\\") or folder
    return str(output_location(folder)), template


def name_outputs(jobs: Sequence[Named], folder: str, mistakes: Mistakes, *, allow_date: bool) -> list[Outputs]:
    """Return the files of each job by format, as POSIX paths below `folder`.

    Names that are not given are made of prompt, seed and what else differs; if that does not tell all jobs apart, also
    of `{id}`. Mistakes are added to `mistakes`.
    """
    now = datetime.now()  # local time, for file names that ask for it
    default = _default_template(jobs)
    named = [_outputs(job, index, default, now, mistakes, allow_date) for index, job in enumerate(jobs, start=1)]
    if any(job.template is None for job in jobs) and _collisions(named):
        default += "_{id}"
        named = [_outputs(job, index, default, now, mistakes, allow_date) for index, job in enumerate(jobs, start=1)]
    _refuse_collisions(named, jobs, mistakes)
    _refuse_files_in_clips(named, jobs, mistakes)
    for job, outputs in zip(jobs, named, strict=True):
        for format, path in outputs.items():
            with mistakes.collected(job.job):
                _check(folder, path, format, job.config)
    return named


def job_id(config: GenerateConfig) -> str:
    """Return eight hexadecimal digits that stand for the settings of a clip."""
    return hashlib.sha256(canonical(config).encode()).hexdigest()[:8]


def canonical(config: GenerateConfig) -> str:
    """Return the settings of a clip as JSON, those with their defaults left out: equal for equal clips."""
    return json.dumps(config.model_dump(mode="json", exclude_defaults=True), sort_keys=True)


def _default_template(jobs: Sequence[Named]) -> str:
    """Return prompt and seed, and every other setting in which jobs differ that set it themselves."""
    own = {key for job in jobs for key in job.own} - {"prompt", "seed", "preset"}
    keys = [key for key in settings_of(GenerateConfig) if key in own]
    differing = [key for key in keys if len({str(getattr(job.config, key)) for job in jobs}) > 1]
    if len({job.preset for job in jobs}) > 1:
        differing = ["preset", *differing]
    parts = (f"{{{key}}}" if _is_text(key) else f"{key.replace('_', '-')}-{{{key}}}" for key in differing)
    return "_".join([DEFAULT_TEMPLATE, *parts])


def _is_text(key: str) -> bool:
    setting = settings_of(GenerateConfig).get(key)
    return setting is None or setting.value_type is str


def _outputs(job: Named, index: int, default: str, now: datetime, mistakes: Mistakes, allow_date: bool) -> Outputs:
    try:
        return _filled(job, index, default if job.template is None else job.template, now, allow_date=allow_date)
    except AnimdiffError as error:
        mistakes.add(error, job.place)
        return {}


def _filled(job: Named, index: int, template: str, now: datetime, *, allow_date: bool) -> Outputs:
    suffix = PurePosixPath(template).suffix
    suffix = "" if "}" in suffix else suffix
    formats = _formats(job.formats, format_of(Path(f"clip{suffix}")) if suffix else None, template)
    stem = _stem(template.removesuffix(suffix), job, index, now, allow_date=allow_date)
    return {name: stem + (suffix if len(formats) == 1 and suffix else FORMATS[name].suffix) for name in formats}


def _formats(written: Sequence[str], of_suffix: Format | None, template: str) -> list[Format]:
    formats = [parse_format(name) for name in dict.fromkeys(written)] or [of_suffix or "gif"]
    if of_suffix and of_suffix not in formats:
        raise UsageError(
            f"the name `{template}` asks for {of_suffix}, and the formats are {', '.join(formats)}",
            hint=f"leave the suffix out of the name, or add the format {of_suffix}",
        )
    return formats


def _stem(template: str, job: Named, index: int, now: datetime, *, allow_date: bool) -> str:
    config = job.config
    if not allow_date and (dated := [name for name, _ in template_fields(template) if name in DATED]):
        raise UsageError(
            f"a name with `{{{dated[0]}}}` is another one at every run, so that no clip is ever found again",
            hint="put the date into the folder, as in `-o night-$(date +%F)/`, or add `--allow-date`",
        )
    if any(name == "prompt" for name, _ in template_fields(template)):
        raise UsageError("a name cannot hold a whole prompt", hint="write `{slug}`, which is the prompt as a file name")
    further = {key: _field(key, getattr(config, key)) for key in BATCH_FIELDS if key in settings_of(GenerateConfig)}
    try:
        return output_name(
            texts_of(config.prompt)[0],
            config.seed,
            now,
            model=Path(config.model).stem,
            index=index,
            template=template,
            further={**further, "preset": slug(job.preset), "id": job_id(config)},
        )
    except UsageError as error:
        if "valid file name" not in str(error):
            raise
        raise UsageError(
            f"the name `{template}` is not a valid file name on all systems",
            hint=f"names are below `--output`; the default is `{DEFAULT_TEMPLATE}`",
        ) from error


def _field(key: str, value: object) -> str | int:
    """Return a setting as a part of a file name."""
    if isinstance(value, bool) or value is None or value in ((), ""):
        return str(value).lower() if isinstance(value, bool) else "none"
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return "-".join(str(_field(key, entry)) for entry in value)
    if key in WEIGHT_SETTINGS:
        return _weights_field(WEIGHT_SETTINGS[key], value)
    text = str(value if isinstance(value, str) else getattr(value, "as_mapping", lambda: value)())
    return slug(text if key == "negative_prompt" else text.rpartition("/")[2])


def _weights_field(setting: WeightSetting, value: object) -> str:
    """Return weights as a part of a file name: without folder and suffix, with their source and scale."""
    entry: Any = WeightEntry(ref=str(value))
    if setting.record:
        entry = setting.record.parse(value) if isinstance(value, str) else setting.record.model_validate(value)
    parts = [slug(_stem_of(entry.ref)), *([slug(_stem_of(entry.source))] if hasattr(entry, "source") else [])]
    if entry.scale is not None and not (setting.entry and entry.scale == 1):
        parts.append(f"{entry.scale:g}" if isinstance(entry.scale, float) else slug(str(entry.scale)))
    return "-".join(parts)


def _stem_of(name: str) -> str:
    """Return the last part of a reference or path, without the suffix of a file."""
    last = name.rpartition("/")[2]
    suffix = PurePosixPath(last).suffix
    return last.removesuffix(suffix) if suffix in (*WEIGHT_SUFFIXES, *CLIP_SUFFIXES, *IMAGE_SUFFIXES) else last


def _collisions(named: Sequence[Outputs]) -> list[tuple[int, int, str]]:
    """List the jobs that share a file with an earlier one, both by number. Case does not tell files apart."""
    first: dict[str, int] = {}
    found = []
    for number, outputs in enumerate(named):
        for path in outputs.values():
            if (other := first.setdefault(path.casefold(), number)) != number:
                found.append((other, number, path))
                break
    return found


def _refuse_collisions(named: Sequence[Outputs], jobs: Sequence[Named], mistakes: Mistakes) -> None:
    """Add one mistake for each template that does not tell its jobs apart, with the fields that would."""
    pairs: dict[str | None, list[tuple[Named, Named, str]]] = {}
    for one, other, path in _collisions(named):
        pairs.setdefault(jobs[other].template, []).append((jobs[one], jobs[other], path))
    for template, clashes in pairs.items():
        first, second, path = clashes[0]
        others = ""
        if more := len(clashes) - 1:
            others = f", and {counted(more, 'other job')} {'clash' if more > 1 else 'clashes'} too"
        hint = f"name {second.job} differently"
        if template and "{" in template:
            hint = f"add {' and '.join(f'`{{{name}}}`' for name in _telling_fields(clashes))} to `{template}`"
        message = f"{first.job} and {second.job} would both be written to `{path}`{others}"
        mistakes.add(UsageError(message, hint=hint))


def _telling_fields(clashes: Sequence[tuple[Named, Named, str]]) -> list[str]:
    """List fields that together tell apart all jobs that share a name."""
    names = (*_SHORT, *BATCH_FIELDS)
    fields: set[str] = set()
    for first, second, _ in clashes:
        differing = [name for name in names if _value(first, name) != _value(second, name)]
        if not fields & set(differing):
            fields.add(differing[0])  # the ids differ at least
    return sorted(fields, key=names.index)


#: fields to try first
_SHORT = ("slug", "seed", "model")


def _value(job: Named, name: str) -> object:
    if name == "slug":
        return slug(texts_of(job.config.prompt)[0])
    if name in ("preset", "id"):
        return job.preset if name == "preset" else job_id(job.config)
    return _field(name, getattr(job.config, name))


def _refuse_files_in_clips(named: Sequence[Outputs], jobs: Sequence[Named], mistakes: Mistakes) -> None:
    """Refuse a file inside of a folder of frames, which is a clip itself."""
    clips = {path.casefold(): number for number, outputs in enumerate(named) for path in outputs.values()}
    for number, outputs in enumerate(named):
        for path in outputs.values():
            above = (str(parent).casefold() for parent in PurePosixPath(path).parents)
            for inside in (clips[parent] for parent in above if parent in clips):
                message = f"{jobs[number].job}: `{path}` would be inside of the frames of {jobs[inside].job}"
                mistakes.add(UsageError(message, hint="choose another name"))


def _check(folder: str, path: str, format: Format, config: GenerateConfig) -> None:
    place = output_location(folder) / path
    if isinstance(place, RemotePath):  # a request for each clip would take minutes
        check_fps(config.fps, format)
        check_remote_output(place)
    else:
        check_output(place, format, config.fps, overwrite=True)
    check_not_read(place, config)
