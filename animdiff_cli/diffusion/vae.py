"""A VAE that replaces the model's own (`--vae`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animdiff_cli.diffusion.build import vae_dtype
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.source import read_config
from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.weights import model_configs
from animdiff_cli.weights.checkpoint import convert_vae
from animdiff_cli.weights.completeness import check_part, network_to_load
from animdiff_cli.weights.kind_checks import open_kind
from animdiff_cli.weights.lazy import LazyTensor
from animdiff_cli.weights.materialize import materialize

#: config keys that tensors do not show, taken from the model's own VAE
INHERITED = ("scaling_factor", "shift_factor", "norm_num_groups", "act_fn")
#: defaults of diffusers' `AutoencoderKL`
DEFAULTS: Mapping[str, float] = {"latent_channels": 4, "scaling_factor": 0.18215}


@dataclass(frozen=True, slots=True)
class VaeFile:
    """An opened VAE: its weights by diffusers' names, not read yet, and its config."""

    path: Path
    tensors: Mapping[str, LazyTensor]
    config: Mapping[str, Any]


def open_vae(path: Path, own: Mapping[str, Any], base: str | None, model: Path) -> VaeFile:
    """Open a VAE, original or diffusers layout, file or folder, for a model whose own VAE has the config `own`.

    Raises `UsageError` if it is of another kind or for other latents, `IntegrityError` if it is incomplete.
    """
    file, info = open_kind(path, "vae", base=base, model=model)
    tensors = convert_vae(file, info, "diffusers").files[""]
    config = _config(path, tensors, own)
    check_part("vae", tensors, config, path.name)
    _check_latents(config, own, path, model)
    return VaeFile(path, tensors, config)


def load_vae(vae: VaeFile, plan: DevicePlan, base: str = "sd15") -> Any:
    """Load a VAE onto the CPU in the dtype that `vae_dtype` chooses."""
    module = network_to_load("vae", vae.config)
    module.load_state_dict(materialize(vae.tensors, vae_dtype(vae.config, plan, base)), assign=True)
    module.weights_file = vae.path.name  # named if its numbers are not finite
    return module


def _config(path: Path, tensors: Mapping[str, LazyTensor], own: Mapping[str, Any]) -> dict[str, Any]:
    if path.is_dir() and (path / "config.json").is_file():
        return read_config(path / "config.json")
    try:
        inferred = model_configs.vae(tensors, "sd15")
    except (KeyError, ValueError, IndexError) as error:
        raise IntegrityError(f"{path.name}: the VAE is incomplete ({error})", hint="get the file again") from error
    return inferred | {key: own[key] for key in INHERITED if key in own}


def _check_latents(config: Mapping[str, Any], own: Mapping[str, Any], path: Path, model: Path) -> None:
    """Refuse a VAE for other latents, which would silently decode to noise."""
    for key, words in (("latent_channels", "latent channels"), ("scaling_factor", "as the scale of its latents")):
        theirs, ours = (settings.get(key, DEFAULTS[key]) for settings in (config, own))
        if theirs != ours:
            raise UsageError(
                f"{path.name} has {theirs} {words}, {model.name} was made with {ours}",
                hint="use a VAE of the model's own base, such as `--vae vae-ft-mse` for sd15",
            )
