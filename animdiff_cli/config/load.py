"""Read the settings of a render from preset, config file, environment, `--set` and flags, each into a layer."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from animdiff_cli.config.layers import Layer, Resolved, set_layer, with_flags
from animdiff_cli.config.presets import load_preset
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.settings import settings_of
from animdiff_cli.config.values import from_text
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS
from animdiff_cli.config.yamlfile import read_mapping
from animdiff_cli.core.environment import PREFIX, VARIABLES
from animdiff_cli.errors import UsageError
from animdiff_cli.storage.location import location

#: flags that are not the key with dashes
FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "negative_prompt": "--negative",
        "num_frames": "--frames",
        "images": "--image",
        "regions": "--region",
        "video.section": "--video-range",
        "video.fps": "--video-fps",
        "mask.feather": "--mask-feather",
        **{key: setting.flag for key, setting in WEIGHT_SETTINGS.items()},
    }
)

_NONE: Mapping[str, str] = MappingProxyType({})


def gather(
    *,
    preset: str | None = None,
    config_file: Path | None = None,
    environ: Mapping[str, str] = _NONE,
    assignments: Sequence[str] = (),
    flags: Mapping[str, object] = _NONE,
) -> list[Layer]:
    """Read every source of settings into layers, lowest first, ready for `resolve`.

    `preset` replaces the preset that the config file names. `flags` holds the flags that were given, by key.
    Raises UsageError or NotFound.
    """
    source = location(config_file) if config_file else None
    from_file = dict(read_mapping(source)) if source else {}
    if from_file.keys() & {"defaults", "jobs", "matrix"}:
        raise UsageError(f"{source} is the file of a batch", hint=f"render its clips with `animdiff batch {source}`")
    in_file = from_file.pop("preset", None)
    if in_file is not None and not isinstance(in_file, str):
        raise UsageError(f"{source}: `preset` must be the name of a preset, got `{in_file}`")
    name = preset or in_file
    layers = [
        load_preset(name).layer() if name else Layer("preset", {}),
        Layer(str(source), from_file),
        env_layer(environ),
        *with_flags(GenerateConfig, set_layer(GenerateConfig, assignments), flag_layer(flags)),
    ]
    return [layer for layer in layers if layer.values]


def env_layer(environ: Mapping[str, str]) -> Layer:
    """Read variables such as `ANIMDIFF_STEPS=30`. `resolve` refuses a name with our prefix that is not a setting."""
    names = {
        name.removeprefix(PREFIX).lower(): name
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in VARIABLES
    }
    values = {key: from_text(GenerateConfig, key, environ[name]) for key, name in names.items()}
    return Layer("environment", values, names)


def flag_layer(flags: Mapping[str, object]) -> Layer:
    """Make a layer of the flags that were given, by key; `motion_module: None` is `--no-motion`."""
    return Layer("command line", flags, {key: flag_name(key, value) for key, value in flags.items()})


def flag_names() -> Mapping[str, str]:
    """Map each setting to its parameter of `animdiff generate`; prompts and seeds may be several, and are apart."""
    keys = (key for key in settings_of(GenerateConfig) if key not in ("prompt", "seed"))
    return {key: flag_name(key).removeprefix("--").replace("-", "_") for key in keys}


def flag_name(key: str, value: object = "") -> str:
    """Return the flag that sets a key.

    >>> flag_name("num_frames")
    '--frames'
    """
    if key == "motion_module" and value is None:
        return "--no-motion"
    return FLAGS.get(key, f"--{key.replace('_', '-')}")


def how_to_set(resolved: Resolved[GenerateConfig], entry: str, field: str, value: object) -> str:
    """Return what to type to change a field of an input, which is an entry of a list or a whole setting.

    It is a line of the batch file, if the input is from one.

    >>> from animdiff_cli.config.layers import resolve
    >>> how_to_set(resolve(GenerateConfig, []), "controls.1", "fit", "pad")
    '--set controls.1.fit=pad'
    >>> how_to_set(resolve(GenerateConfig, []), "video", "fps", 8)
    '--video-fps 8'
    """
    key = resolved.made_of.get(entry, entry)
    if re.search(r", line \d+$", resolved.origins[key.partition(".")[0]]):
        return f"{key}.{field}: {value}"
    flag = FLAGS.get(f"{key}.{field}")
    return f"{flag} {value}" if flag else f"--set {key}.{field}={value}"
