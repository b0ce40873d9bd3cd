"""The identity of a job of a batch: the same tomorrow and elsewhere, and another one if anything it needs differs."""

import hashlib
import json
from typing import TYPE_CHECKING

from animdiff_cli.jobs.batch.records import BatchJob, BatchPlan
from animdiff_cli.jobs.inputs import input_hashes
from animdiff_cli.jobs.missing_weights import refuse_missing
from animdiff_cli.jobs.recipe import WeightHashes, recorded_settings
from animdiff_cli.registry.file_facts_cache import cached_sha256

if TYPE_CHECKING:
    from animdiff_cli.jobs.render_plan import RenderPlan

#: version of the arithmetic: increase it when the same settings and weights give other frames than before
ARITHMETIC = 2


def fingerprint(job: BatchJob, weights: WeightHashes, inputs: WeightHashes) -> str:
    """Return the sha256 of everything that decides the files of a job, as 64 hexadecimal digits.

    These are its settings, the sha256 of every weight file and input, `ARITHMETIC`, and the names of its outputs.
    Settings that have their default are left out, as in a recipe, so that a new setting changes nothing. The device is
    left out too: a batch may be continued on another one.
    """
    facts = {
        "arithmetic": ARITHMETIC,
        "config": recorded_settings(job.config),
        "weights": weights,
        "inputs": inputs,
        "outputs": dict(job.outputs),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode("ascii")).hexdigest()


def fingerprints(plan: BatchPlan) -> list[str]:
    """Return the fingerprint of every job. Each file is hashed once, and not at all while its hash is in the cache.

    Raises `NotFound` if weights are missing.
    """
    weights = [_hashes(group) for group in plan.groups]
    return [fingerprint(job, weights[job.group], input_hashes(job.config)) for job in plan.jobs]


def _hashes(group: "RenderPlan") -> WeightHashes:
    if group.weights is None:
        refuse_missing(group.missing)
    return group.weights.files.hashes(cached_sha256)
