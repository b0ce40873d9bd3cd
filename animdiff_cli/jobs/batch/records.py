"""A planned batch: every clip with its settings and files, in the order in which they are rendered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from animdiff_cli.config.layers import Resolved
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.weight_settings import LOADING_SETTINGS, chosen_weights
from animdiff_cli.core.formats import Format
from animdiff_cli.core.seeds import Job

if TYPE_CHECKING:
    from animdiff_cli.jobs.render_plan import RenderPlan


@dataclass(frozen=True, slots=True)
class BatchJob:
    """One clip of a batch."""

    name: str  # where it stands in the file, for messages: `night.yaml:7, seed 2`
    config: GenerateConfig  # resolved and complete
    outputs: Mapping[Format, str]  # POSIX paths relative to `BatchPlan.output`, unique in the batch, the same tomorrow
    group: int  # index into `BatchPlan.groups`


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """A whole batch, checked. No weights are loaded."""

    output: str  # folder or URL that holds the outputs
    jobs: tuple[BatchJob, ...]  # ordered so that the jobs of a group are contiguous
    groups: tuple["RenderPlan", ...]  # one per set of weights, with the configs of its jobs
    notes: tuple[str, ...] = ()


class Resolvable(NamedTuple):
    """A job with its resolved settings; those of jobs that differ in prompt and seed alone are one object."""

    job: BatchJob
    resolved: Resolved[GenerateConfig]
    clip: Job


def weights_key(config: GenerateConfig) -> tuple[object, ...]:
    """Return what decides which weights are loaded, and how."""
    return tuple(chosen_weights(key, getattr(config, key)) for key in LOADING_SETTINGS)
