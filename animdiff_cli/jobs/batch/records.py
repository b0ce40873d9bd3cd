"""A planned batch: every clip with its settings and files, in the order in which they are rendered."""

from collections.abc import Mapping
from dataclasses import dataclass

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.formats import Format
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
    groups: tuple[RenderPlan, ...]  # one per set of weights, with the configs of its jobs
    notes: tuple[str, ...] = ()
