"""Which preprocessor makes the pictures of a control, and which weights it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from animdiff_cli.config.input_settings import ControlEntry
from animdiff_cli.config.layers import Layer, Resolved, resolve
from animdiff_cli.config.load import flag_name
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.choices import Preprocessor
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.diffusion.detectors import DetectorFile, open_detector, require_package
from animdiff_cli.errors import AnimdiffError, UsageError
from animdiff_cli.jobs.media import OpenInput, open_input, section_of, small_frame
from animdiff_cli.jobs.preprocess import expected_by, looks_like_map
from animdiff_cli.registry.catalog import load_catalog
from animdiff_cli.weights.preprocessors import USUAL_WEIGHTS

FLAG = "--control"
#: width and height of the picture that shows whether a source is a control picture already
LOOK = 128


def with_preprocess_weights(layers: Sequence[Layer]) -> list[Layer]:
    """Add the usual weights of the preprocessors that the controls need, below `layers`.

    Raises `UsageError` if a preprocessor needs a package that is not installed.
    """
    if not any(key.partition(".")[0] == "controls" for layer in layers for key in layer.values):
        return list(layers)
    needed = _needed_of_all(resolve(GenerateConfig, layers).values)
    for name in needed:
        require_package(name)
    aliases = tuple(USUAL_WEIGHTS[name] for name in needed)
    return [Layer("--preprocess", {"preprocess_weights": aliases}), *layers] if aliases else list(layers)


def usual_weights(values: Mapping[str, object]) -> tuple[str, ...]:
    """List the usual weights of the preprocessors that settings need, or may need once their sources are here.

    Empty if the settings name weights.
    """
    if values["preprocess_weights"]:
        return ()
    usual = cast("Preprocessor", values["preprocess"])  # also of controls that are given later
    needed = {*_needed_of_all(values, unread=True), *((usual,) if usual in USUAL_WEIGHTS else ())}
    return tuple(alias for name, alias in USUAL_WEIGHTS.items() if name in needed)


def with_preprocess_weights_again(recipe: Layer, changes: Sequence[Layer]) -> list[Layer]:
    """Return recipe and changes; changes to controls choose the usual weights again, if the recipe has no others."""
    changed = {key.partition(".")[0] for layer in changes for key in layer.values}
    recorded = cast("Sequence[str]", recipe.values.get("preprocess_weights", ()))
    if not changed & {"controls", "preprocess"} or not set(recorded) <= set(USUAL_WEIGHTS.values()):
        return [recipe, *changes]
    kept = {key: value for key, value in recipe.values.items() if key != "preprocess_weights"}
    return with_preprocess_weights([replace(recipe, values=kept), *changes])


def check_preprocess_flags(resolved: Resolved[GenerateConfig]) -> None:
    """Raise `UsageError` for `--preprocess` and its weights without a control. Presets may have them for later use."""
    num_pictures = len(resolved.made_of)  # of `--image`, which are controls too
    has_controls = len(cast("Sequence[object]", resolved.values["controls"])) > num_pictures
    for key in ("preprocess", "preprocess_weights"):
        flag = flag_name(key)
        if resolved.origins[key] == flag and not has_controls:
            raise UsageError(f"`{flag}` has no effect without a control", hint=f"add `{FLAG} REF=SOURCE`")


def choose_preprocessor(
    entry: ControlEntry, opened: OpenInput, usual: Preprocessor, names: Sequence[str] = ()
) -> Preprocessor:
    """Choose what makes control pictures of a source. `names` are further names of the network.

    Raises `UsageError` if `auto` finds none.
    """
    chosen = entry.preprocess or usual
    if chosen != "auto":
        return chosen
    network = " ".join([*_names(entry.ref), *names])
    expected = expected_by(network)
    if expected in ("auto", "none"):
        return "none"
    if looks_like_map(small_frame(opened, section_of(opened, entry).start, LOOK), expected):
        return "none"
    if expected is None:
        raise UsageError(
            f"`{opened.path}` is no control picture, and no preprocessor makes one for `{entry.ref}`",
            hint="make it with another program, or use frames as they are: `--preprocess none`",
        )
    return expected


def open_weights_of(name: Preprocessor, paths: Sequence[Path]) -> DetectorFile | None:
    """Return the first of `paths` that is for a preprocessor, opened; None if it needs no weights.

    Raises `UsageError` if none is, or for a missing package, `IntegrityError` for damaged weights.
    """
    if name not in USUAL_WEIGHTS:
        return None
    require_package(name)
    found = next((opened for opened in map(open_detector, paths) if opened.makes == name), None)
    if found is None:
        raise UsageError(
            f"the preprocessor `{name}` needs weights, and none of `preprocess_weights` are for it",
            hint=f"add `--preprocess-weights {USUAL_WEIGHTS[name]}`",
        )
    return found


def _needed_of_all(values: Mapping[str, object], *, unread: bool = False) -> Sequence[Preprocessor]:
    entries = [ControlEntry.read(value) for value in cast("Sequence[object]", values["controls"])]
    needed = [_needed(entry, cast("Preprocessor", values["preprocess"]), unread=unread) for entry in entries]
    return list(dict.fromkeys(name for name in needed if name))


def _needed(entry: ControlEntry, usual: Preprocessor, *, unread: bool) -> Preprocessor | None:
    """Return the preprocessor of a control if it needs weights; with `unread`, also if its source cannot be read."""
    name = entry.preprocess or usual
    if name == "auto":
        expected = expected_by(" ".join(_names(entry.ref)))
        if expected not in USUAL_WEIGHTS:
            return None
        try:
            name = choose_preprocessor(entry, open_input(entry.source, FLAG), usual)
        except AnimdiffError:  # which is reported when the control is checked
            return expected if unread else None
    return name if name in USUAL_WEIGHTS else None


def _names(text: str) -> list[str]:
    """Return the names of a network without folders: of its reference, and of its file in the catalog."""
    ref = parse_ref(text)
    known = ref.source == "alias" and ref.target in load_catalog()
    stored = load_catalog().find(ref.target).store_name if known else ""
    return [Path(name).name for name in (ref.target, ref.file or "", stored)]
