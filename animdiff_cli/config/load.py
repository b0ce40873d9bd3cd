"""Where settings are typed: preset, config file, environment, `--set` and flags, each read into a layer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from animdiff_cli.config.layers import Layer
from animdiff_cli.config.presets import load_preset
from animdiff_cli.config.values import from_text
from animdiff_cli.config.yamlfile import read_mapping
from animdiff_cli.errors import UsageError

ENV_PREFIX = "ANIMDIFF_"

#: names with our prefix that are no settings of a render: directories, a mirror, and where to run
OTHER_ENV = frozenset({"MODELS", "CONFIG", "OUTPUT", "CACHE", "EXTRA_MODELS", "DEVICE", "CIVITAI_ENDPOINT"})

#: keys whose flag is not the key with dashes
FLAGS = MappingProxyType(
    {
        "negative_prompt": "--negative",
        "num_frames": "--frames",
        "motion_loras": "--motion-lora",
        "loras": "--lora",
        "embeddings": "--embedding",
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
    """Read everything a user gave into layers, lowest first, ready for `resolve`.

    A `preset` named here replaces one named in the config file. `flags` holds only flags that were given, by
    key. Raises UsageError or NotFound.
    """
    from_file = dict(read_mapping(config_file)) if config_file else {}
    in_file = from_file.pop("preset", None)
    if in_file is not None and not isinstance(in_file, str):
        raise UsageError(f"{config_file}: `preset` must be the name of a preset, got `{in_file}`")
    name = preset or in_file
    layers = [
        load_preset(name).layer() if name else Layer("preset", {}),
        Layer(str(config_file), from_file),
        env_layer(environ),
        set_layer(assignments),
        flag_layer(flags),
    ]
    return [layer for layer in layers if layer.values]


def env_layer(environ: Mapping[str, str]) -> Layer:
    """Read `ANIMDIFF_STEPS=30` and its like. A name with our prefix that is no setting is an error in `resolve`."""
    names = {
        name.removeprefix(ENV_PREFIX).lower(): name
        for name in sorted(environ)
        if name.startswith(ENV_PREFIX) and name.removeprefix(ENV_PREFIX) not in OTHER_ENV
    }
    return Layer("environment", {key: from_text(key, environ[name]) for key, name in names.items()}, names)


def set_layer(assignments: Sequence[str]) -> Layer:
    """Read `key=value` pairs of `--set`; the last one counts where a key comes twice. Raises UsageError."""
    values = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {assignment}: expected key=value", hint="write it as in `--set steps=30`")
        values[key.strip()] = from_text(key.strip(), text)
    return Layer("--set", values)


def flag_layer(flags: Mapping[str, object]) -> Layer:
    """Take flags that were given on the command line, by key; `motion_module: None` is `--no-motion`."""
    return Layer("command line", flags, {key: flag_name(key, value) for key, value in flags.items()})


def flag_name(key: str, value: object = "") -> str:
    """Name the flag that sets a key.

    >>> flag_name("num_frames")
    '--frames'
    """
    if key == "motion_module" and value is None:
        return "--no-motion"
    return FLAGS.get(key, f"--{key.replace('_', '-')}")
