"""Select jobs of a batch by `--only`: a pattern of their files, or `key=value`."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.settings import settings_of
from animdiff_cli.config.values import check_value, from_text
from animdiff_cli.core.suggest import did_you_mean
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.batch.records import BatchJob


def select(jobs: Sequence[BatchJob], only: Sequence[str]) -> list[int]:
    """Return the numbers of the jobs that any of `only` names; all jobs without any.

    Raises `UsageError` for a pattern that matches no job.
    """
    if not only:
        return list(range(len(jobs)))
    chosen: set[int] = set()
    for pattern in only:
        matches = [number for number, job in enumerate(jobs) if _matches(job, pattern)]
        if not matches:
            example = next(iter(jobs[0].outputs.values()), "") if jobs else ""
            raise UsageError(
                f"`--only {pattern}` matches no job",
                hint=f"give a pattern of files such as `{example}`, or `seed=1`",
            )
        chosen.update(matches)
    return sorted(chosen)


def _matches(job: BatchJob, pattern: str) -> bool:
    key, equals, text = pattern.partition("=")
    if equals and key.isidentifier():
        if key not in settings_of(GenerateConfig):
            hint = did_you_mean(key, settings_of(GenerateConfig), otherwise="for example `--only seed=1`")
            raise UsageError(f"`--only {pattern}`: unknown key `{key}`", hint=hint)
        wanted = check_value(GenerateConfig, key, from_text(GenerateConfig, key, text), "--only")
        return bool(getattr(job.config, key) == wanted)
    return any(fnmatchcase(path, pattern) for path in job.outputs.values())
