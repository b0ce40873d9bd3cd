"""An image model on disk, opened but not read: a diffusers folder, or a single-file checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from animdiff_cli.config.yamlfile import read_yaml
from animdiff_cli.core.model_parts import BASES, NETWORKS, networks_of, tokenizers_of
from animdiff_cli.errors import AnimdiffError, IntegrityError, UsageError
from animdiff_cli.files.hashing import FileState, file_state
from animdiff_cli.files.os_errors import temporary_folder
from animdiff_cli.files.untrusted import parse_json, read_json
from animdiff_cli.weights import model_configs
from animdiff_cli.weights.canonical import UNKNOWN, CanonicalWeights
from animdiff_cli.weights.checkpoint import read_checkpoint
from animdiff_cli.weights.checkpoint_folder import (
    check_parts,
    kept_configs,
    part_config,
    part_tensors,
    tokenizer_of,
    without_unknown,
)
from animdiff_cli.weights.folders import weight_files
from animdiff_cli.weights.kind_checks import open_kind
from animdiff_cli.weights.lazy import LazyTensor
from animdiff_cli.weights.lora import LoraWeights
from animdiff_cli.weights.lora_merge import merge_loras

_AGAIN = "get the model again"


@dataclass(frozen=True, slots=True, eq=False)
class ModelSource:
    """The weights and configs of a model. `base` is one of `BASES`."""

    path: Path
    base: str
    contents: CanonicalWeights

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the networks of this base, in loading order."""
        return networks_of(self.base)

    @property
    def notes(self) -> tuple[str, ...]:
        """Name the weights that are left out because no part has them, and a `.yaml` that cannot be read."""
        unknown = [key for key, reason in self.contents.dropped.items() if reason == UNKNOWN]
        example = f"such as `{unknown[0][:120]}`" if unknown else ""
        left_out = (f"{self.path.name}: {len(unknown)} unknown weights are left out, {example}",) if unknown else ()
        broken = _parameterization(self.path)[1]
        return (*left_out, f"the file beside {self.path.name} is not used: {broken}") if broken else left_out

    def config(self, part: str) -> dict[str, Any]:
        """Return the config of one part: its `config.json`, or a config inferred from the shapes in a single file."""
        return part_config(part, self.contents, self.base, self.path.name)

    def tensors(self, part: str) -> dict[str, LazyTensor]:
        """Return the weights of one part by their names within it."""
        return part_tensors(self.contents, part)

    def check(self, *, needs_vae: bool = True) -> None:
        """Raise `IntegrityError` unless every part has all weights of its network. Reads headers only."""
        needed = [part for part in self.parts if needs_vae or part != "vae"]
        if missing := [part for part in needed if not self.tensors(part)]:
            raise IntegrityError(f"{self.path.name} has no {missing[0]}", hint=_missing_part_hint(missing[0]))
        _check_once(self)

    def merged(self, loras: Sequence[LoraWeights]) -> "ModelSource":
        """Return the model with checked LoRAs merged into its weights, computed when they are read."""
        return replace(self, contents=replace(self.contents, tensors=merge_loras(self.contents.tensors, loras)))

    def scheduler(self) -> dict[str, Any]:
        """Return the scheduler config of the image model."""
        config = self._recorded("scheduler/scheduler_config.json")
        config = config or model_configs.shipped_config(self.base, "scheduler")
        if "v_pred" in self.contents.dropped or _parameterization(self.path)[0] == "v":
            config = config | {"prediction_type": "v_prediction"}
        return config | ({"rescale_betas_zero_snr": True} if "ztsnr" in self.contents.dropped else {})

    def prediction(self) -> dict[str, Any]:
        """Return what the UNet predicts and whether its noise schedule ends in pure noise, by setting."""
        scheduler = self.scheduler()
        return {
            "prediction_type": scheduler.get("prediction_type", "epsilon"),
            "rescale_betas_zero_snr": bool(scheduler.get("rescale_betas_zero_snr", False)),
        }

    def index(self) -> dict[str, Any]:
        """Return `model_index.json`, or that of the base for a single file."""
        index = self.path / "model_index.json"
        return read_config(index) if index.is_file() else model_configs.shipped_config(self.base, "model_index")

    def tokenizers(self) -> list[Any]:
        """Load the tokenizers, one per text encoder. For a single file, CLIP's tokenizer ships with this program."""
        from transformers.models.clip.tokenization_clip import CLIPTokenizer

        if self.path.is_dir():
            folders = [self.path / part for part in tokenizers_of(self.base)]
            return [CLIPTokenizer.from_pretrained(folder, local_files_only=True) for folder in folders]
        loaded = []
        for part in tokenizers_of(self.base):
            with temporary_folder(tokenizer_of(part, self.contents, self.base, self.path.name)) as folder:
                loaded.append(CLIPTokenizer.from_pretrained(folder, local_files_only=True))
        return loaded

    def _recorded(self, name: str) -> dict[str, Any]:
        try:
            config: Any = parse_json(kept_configs(self.contents.metadata).get(name, "{}"))
        except ValueError as error:
            raise IntegrityError(f"{self.path.name}: its `{name}` is not JSON: {error}", hint=_AGAIN) from error
        return config if isinstance(config, dict) else {}


def _parameterization(path: Path) -> tuple[str | None, AnimdiffError | None]:
    """Read `parameterization` from the `.yaml` beside a single file, as trainers of latent diffusion write it.

    Returns the error of a `.yaml` that cannot be read: the weights tell nearly everything without it.
    """
    sidecar = path.with_suffix(".yaml")
    try:
        config = read_yaml(sidecar) if path.is_file() and sidecar.is_file() else None
    except AnimdiffError as error:
        return None, error
    for key in ("model", "params", "parameterization"):
        config = config.get(key) if isinstance(config, dict) else None
    return (config if isinstance(config, str) else None), None


def open_model(path: Path) -> ModelSource:
    """Open a folder or file. Reads only headers of safetensors.

    The model opened last is cached until `forget_model`, so that planning and loading open it once. Raises
    `IntegrityError` if this is no image model or has an invalid config, `UsageError` if its base is neither Stable
    Diffusion 1.5 nor SDXL.
    """
    weights = [path] if path.is_file() else [file for part in NETWORKS for file in weight_files(path / part)]
    return _open_model(path, tuple(map(file_state, weights)))


def forget_model() -> None:
    """Drop the model that was opened last: a legacy pickle is held in memory."""
    _open_model.cache_clear()
    _check_once.cache_clear()


def read_config(path: Path) -> dict[str, Any]:
    """Read one part's JSON config. Raises `IntegrityError` if it is not JSON."""
    try:
        config: Any = read_json(path)
    except ValueError as error:
        raise IntegrityError(f"{path} is not JSON: {error}", hint=_AGAIN) from error
    return config if isinstance(config, dict) else {}


@lru_cache(maxsize=1)
def _check_once(source: ModelSource) -> None:
    check_parts(source.contents, source.base, source.path.name)


@lru_cache(maxsize=1)
def _open_model(path: Path, states: tuple[FileState, ...]) -> ModelSource:
    """Open a model; `states` are those of its files, so that a changed model is opened anew."""
    file, info = open_kind(path, "base")
    if info.base not in BASES:
        base = info.base or "an unknown base"
        raise UsageError(
            f"{path.name} is an image model of {base}; this version renders Stable Diffusion 1.5 and SDXL",
            hint="use a Stable Diffusion 1.5 or SDXL checkpoint",
        )
    contents = without_unknown(read_checkpoint(file, strict=False), info.base, path.name)
    return ModelSource(path, info.base, contents)


def _missing_part_hint(part: str) -> str:
    if part == "vae":
        return "use a checkpoint with a VAE, or name one: `--vae FILE`"
    return "use a checkpoint with all parts"
