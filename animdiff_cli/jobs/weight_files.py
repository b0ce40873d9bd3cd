"""The weight files of a render: located and hashed. Nothing here opens them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS, WeightSetting, refs_in
from animdiff_cli.core.choices import LoraAlphaMode, MotionVersion
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.files.hashing import sha256_of
from animdiff_cli.jobs.recipe import WeightHashes
from animdiff_cli.registry.store import locate
from animdiff_cli.weights.folders import encoder_beside, model_files, weight_files
from animdiff_cli.weights.scaled import ScaledWeights


@dataclass(frozen=True, slots=True)
class Weights:
    """The files of a render and their scales. One field for each of `WEIGHT_SETTINGS`, by its key."""

    model: Path  # diffusers folder or single file
    motion_module: Path | None = None
    motion_modules: tuple[ScaledWeights, ...] = ()
    motion_version: MotionVersion | None = None
    motion_loras: tuple[ScaledWeights, ...] = ()
    loras: tuple[ScaledWeights, ...] = ()
    lora_alpha_mode: LoraAlphaMode = "alpha"
    domain_adapter: ScaledWeights | None = None
    vae: Path | None = None
    embeddings: tuple[Path, ...] = ()
    controls: tuple[Path, ...] = ()
    image_prompts: tuple[Path, ...] = ()
    image_encoder: Path | None = None
    preprocess_weights: tuple[Path, ...] = ()

    def files(self, key: str) -> list[Path]:
        """List the files or folders of one of `WEIGHT_SETTINGS`."""
        value = getattr(self, key)
        entries = value if isinstance(value, tuple) else (value,)
        return [entry.path if isinstance(entry, ScaledWeights) else entry for entry in entries if entry]

    def hashes(self, sha256: Callable[[Path], str] = sha256_of) -> WeightHashes:
        """Hash every weight file of the render with `sha256`, by setting."""
        found = {key: _hashes(self.files(key), sha256) for key in WEIGHT_SETTINGS}
        return {key: files for key, files in found.items() if files}


def find_weights(config: GenerateConfig) -> Weights:
    """Locate the files of a render on this machine. Raises `NotFound` for the first that is missing."""
    found = {key: _located(setting, getattr(config, key)) for key, setting in WEIGHT_SETTINGS.items()}
    if found["image_prompts"] and found["image_encoder"] is None:
        found["image_encoder"] = encoder_beside(found["image_prompts"][0])
    return Weights(**found, motion_version=config.motion_version, lora_alpha_mode=config.lora_alpha_mode)


def used_files(path: Path) -> list[Path]:
    """List the files that are read of a weight file or model folder."""
    if not path.is_dir():
        return [path]
    return model_files(path) or weight_files(path)


def _located(setting: WeightSetting, value: Any) -> Any:
    """Locate what one setting names. Returns what the field of `Weights` holds."""
    texts = refs_in(setting, value) if setting.entry else value if setting.is_list else (value,)
    refs = [parse_ref(text, scaled=setting.is_scaled) for text in texts if text]
    found: list[Any] = [locate(ref, *setting.kinds).path for ref in refs]
    if setting.is_scaled:
        scales = (1.0 if ref.scale is None else ref.scale for ref in refs)
        found = [ScaledWeights(path, scale) for path, scale in zip(found, scales, strict=True)]
    return tuple(found) if setting.is_list else next(iter(found), None)


def _hashes(paths: list[Path], sha256: Callable[[Path], str]) -> Mapping[str, str]:
    """Hash files by name, files of a folder by their relative path. Equal names are numbered: `a.ckpt#2`."""
    found: dict[str, str] = {}
    for path in paths:
        files = used_files(path)
        root = path if path.is_dir() else path.parent
        for file in files:
            name = file.relative_to(root).as_posix()
            number = sum(known.partition("#")[0] == name for known in found)
            found[f"{name}#{number + 1}" if number else name] = sha256(file)
    return found
