"""`--skip-existing`: find the clips of a plan that an earlier call has rendered."""

from collections.abc import Callable, Mapping
from typing import Any

from animdiff_cli.config.sampling_settings import CONTEXT_SETTINGS
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS
from animdiff_cli.errors import AnimdiffError, NetworkError, UsageError
from animdiff_cli.jobs.inputs import differing_inputs
from animdiff_cli.jobs.recipe import check_recipe, recorded_settings
from animdiff_cli.jobs.render_plan import RenderPlan
from animdiff_cli.jobs.weights import CheckedWeights
from animdiff_cli.outputs import read_recipe
from animdiff_cli.registry.metadata import read_metadata_json
from animdiff_cli.storage.inputs import local_copy
from animdiff_cli.storage.location import Location

#: settings that a render replaces by a value, so that the recipe has another
REPLACED: Mapping[str, object] = {
    "beta_schedule": "auto",
    "beta_end": None,
    "dtype": "auto",
    "continue_frames": None,
    "prediction_type": None,
    "rescale_betas_zero_snr": None,
    **dict.fromkeys(CONTEXT_SETTINGS),
}

#: whether a file is the clip of a config
IsDone = Callable[[GenerateConfig, Location], bool]


def rendered_before(plan: RenderPlan) -> IsDone:
    """Return a check for files: same settings and same continued clip in the recipe, and same weights as far as hashes
    are known without reading them: the hash of a download is in its metadata file.

    Raises `UsageError` for random seeds, which no earlier clip has.
    """
    if plan.seeds_drawn:
        raise UsageError("--skip-existing has no effect with random seeds", hint="add `--seed 1`")
    hashes = _known_hashes(plan.weights) if plan.weights else {}

    def is_done(config: GenerateConfig, path: Location) -> bool:
        try:
            with local_copy(path) as local:
                recipe = check_recipe(read_recipe(local), str(path))
        except NetworkError:
            raise
        except AnimdiffError:  # another file, or a damaged one
            return False
        is_same = _same_settings(config, recipe.get("config")) and _same_weights(hashes, recipe.get("weights"))
        return is_same and not differing_inputs(recipe, config)

    return is_done


def _same_settings(config: GenerateConfig, recorded: Any) -> bool:
    if not isinstance(recorded, dict):
        return False
    wanted = recorded_settings(config)
    return all(
        recorded.get(key) == wanted.get(key)
        for key in recorded.keys() | wanted.keys()
        if key not in REPLACED or REPLACED[key] != wanted.get(key)
    )


def _same_weights(hashes: Mapping[tuple[str, str], str], recorded: Any) -> bool:
    found = recorded if isinstance(recorded, dict) else {}
    for (key, name), sha256 in hashes.items():
        files = found.get(key)
        if isinstance(files, dict) and files.get(name, sha256) != sha256:
            return False
    return True


def _known_hashes(weights: CheckedWeights) -> dict[tuple[str, str], str]:
    """Return the recorded hashes of single files, by setting and file name."""
    paths = [(key, path) for key in WEIGHT_SETTINGS for path in weights.files.files(key) if path.is_file()]
    known = {(key, path.name): read_metadata_json(path).get("sha256") for key, path in paths}
    return {place: sha256 for place, sha256 in known.items() if isinstance(sha256, str)}
