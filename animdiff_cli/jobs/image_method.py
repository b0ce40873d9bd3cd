"""`--image-method`: by which network, if any, pictures become frames; chosen before weights are looked for."""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from animdiff_cli.config.input_settings import ControlEntry, ImageEntry
from animdiff_cli.config.layers import DEFAULT, Layer, Resolved, resolve
from animdiff_cli.config.load import flag_name
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.choices import ImageMethod
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import AnimdiffError, UsageError
from animdiff_cli.fetch.items import requirements
from animdiff_cli.registry.catalog import CatalogEntry, load_catalog
from animdiff_cli.registry.store import is_local, local_path, locate, not_downloaded
from animdiff_cli.weights.identify import identify
from animdiff_cli.weights.kind_readers import RGB

FLAG = "--image-method"
#: the source of settings that `auto` chose
_AUTO = f"{FLAG} auto"


def with_image_method(layers: Sequence[Layer]) -> list[Layer]:
    """Add what the method of `images` decides above `layers`; `auto` takes the first whose weights are here.

    `sparsectrl` turns the pictures into controls, `pia` names the motion module. Raises `NotFound` for a method whose
    weights are not on this machine, `UsageError` for one that the image model does not have.
    """
    if not any(layer.values.get("images") for layer in layers):
        return list(layers)
    found = resolve(GenerateConfig, layers)
    if not found.values["images"] or "model" not in found.values:
        return list(layers)
    method = cast("ImageMethod", found.values["image_method"])
    is_auto = method == "auto"
    method = _auto(found) if is_auto else method
    settings = _SETTINGS[method](found) if method in _SETTINGS else {}
    if not is_auto and not settings:
        return list(layers)
    source, values = _AUTO if is_auto else f"{FLAG} {method}", {"image_method": method, **settings}
    num_own, num_all = (len(cast("Sequence[object]", each.get("controls", ()))) for each in (found.values, settings))
    made_of = {f"controls.{number}": f"images.{number - num_own}" for number in range(num_own, num_all)}
    return [*layers, Layer(source, values, {"images": found.origins["images"]}, made_of)]


def with_image_method_again(recipe: Layer, changes: Sequence[Layer]) -> list[Layer]:
    """Add what the method of pictures in `changes` to a recipe decides. They replace those of the recipe."""
    if not any(key.partition(".")[0] in ("images", "image_method") for layer in changes for key in layer.values):
        return list(changes)
    recorded = resolve(GenerateConfig, [recipe]).values
    if recorded["image_method"] == "sparsectrl":
        controls = [
            value
            for value in cast("Sequence[object]", recorded["controls"])
            if not is_picture(ControlEntry.read(value).ref)
        ]
        changes = [Layer(recipe.source, {"controls": controls}), *changes]
    return with_image_method([recipe, *changes])[1:]


def is_picture(ref: str) -> bool:
    """Return whether a control by the network `ref` is what pictures become, in a clip of which some did."""
    return ref in load_catalog() and ref == getattr(_sparsectrl(load_catalog().find(ref).base), "alias", None)


def image_method_notes(resolved: Resolved[GenerateConfig]) -> list[str]:
    """Say which method `auto` chose."""
    if resolved.origins["image_method"] != _AUTO:
        return []
    values = resolved.values
    method = values["image_method"]
    if method == "sparsectrl":
        reason = f"by `{ControlEntry.read(cast('Sequence[object]', values['controls'])[-1]).ref}`"
    else:
        reason = f"by `{values['motion_module']}`" if method == "pia" else "which needs no further weights"
    return [f"`{_AUTO}` chose {method}, {reason}"]


def check_image_flags(resolved: Resolved[GenerateConfig]) -> None:
    """Raise `UsageError` for a method without pictures, or settings of PIA without PIA. Presets may have them."""
    values, origins = resolved.values, resolved.origins
    typed = ("--set", *map(flag_name, _OF_PIA), flag_name("image_method"))
    if origins["image_method"] in typed and not values["images"]:
        raise UsageError(f"`{FLAG}` has no effect without a picture", hint="add `--image PICTURE`")
    if origins["denoise"] in ("--set", flag_name("denoise")) and values["image_method"] in _SETTINGS:
        raise UsageError(
            f"`--denoise` has no effect on pictures by {values['image_method']}: the clip begins in noise",
            hint=f"leave `--denoise` out, or use `{FLAG} blend`",
        )
    for key in _OF_PIA:
        if origins[key] in typed and values["image_method"] != "pia":
            raise UsageError(
                f"`{key}` is a setting of PIA, and this clip is not rendered by it",
                hint=f"add `--image PICTURE {FLAG} pia`, or leave `{key}` out",
            )


def weights_of_method(found: Resolved[GenerateConfig]) -> CatalogEntry | None:
    """Return the weights by which the method of `images` works, if it has any and the settings do not name them."""
    method, base = found.values["image_method"], _base(found) if "model" in found.values else None
    if method == "pia":
        return _pia(base) if found.origins["motion_module"] == DEFAULT else None
    return _sparsectrl(base) if method == "sparsectrl" else None


def version_of_alias(module: str | None) -> str | None:
    """Return the version of a motion module as the catalog has it; None for files and unknown names."""
    ref = parse_ref(module) if module else None
    known = ref is not None and ref.source == "alias" and ref.target in load_catalog()
    return load_catalog().find(ref.target).version if ref and known else None


def check_image_method(config: GenerateConfig, module_version: str | None) -> None:
    """Raise `UsageError` for PIA without a picture or with another method, and for its method without PIA.

    Also for pictures by a SparseCtrl that were given after it was loaded. `module_version` is the version of the motion
    module; None where it is not known yet.
    """
    is_pia, module = module_version == "pia", config.motion_module
    if config.images and config.image_method == "sparsectrl":
        raise UsageError(
            "pictures by a SparseCtrl are controls, and loaded weights keep theirs",
            hint='pass them as `controls=["sparsectrl-rgb=first.png"]`',
        )
    if is_pia and config.image_method != "pia" and (config.images or config.image_method != "auto"):
        raise UsageError(
            f"`{module}` is a PIA module, and `{FLAG} {config.image_method}` leaves its picture out",
            hint=f"use `{FLAG} pia`, or another motion module: `--motion-module mm-v3`",
        )
    if is_pia and not config.images:
        raise UsageError(
            f"`{module}` is a PIA module, which animates a picture, and there is none",
            hint="add `--image PICTURE`, or use `--motion-module mm-v3`",
        )
    if is_pia and config.motion_modules:
        raise UsageError(
            "a PIA module cannot be mixed with other motion modules: it reads a picture by channels of its own",
            hint="use `--motion-module pia` alone",
        )
    if config.images and config.image_method == "pia" and module_version and not is_pia:
        raise UsageError(
            f"PIA is a motion module of its own, and this render has `{module}` ({module_version})",
            hint=f"use `--motion-module pia`, or `{FLAG} blend`",
        )


_OF_PIA = ("pia_magnitude", "pia_variant")


def _auto(found: Resolved[GenerateConfig]) -> ImageMethod:
    """Choose the first method whose weights are here. A module that the user named stays."""
    module, is_named = found.values["motion_module"], found.origins["motion_module"] != DEFAULT
    version = _version(module) if isinstance(module, str) else None
    if version == "pia":
        return "pia"
    if (is_named and version != "v3") or found.origins["denoise"] != DEFAULT:
        return "blend"
    sparse = _sparsectrl(_base(found))
    if sparse and all(map(is_local, (sparse, *requirements(sparse)))):
        return "sparsectrl"
    pia = _pia(_base(found))
    return "pia" if pia and not is_named and is_local(pia) else "blend"


def _by_sparsectrl(found: Resolved[GenerateConfig]) -> Mapping[str, object]:
    """Return the pictures as controls of one SparseCtrl. Raises `UsageError` without a motion module."""
    # it imports torch, and a finished batch does without
    from animdiff_cli.jobs.source_images import check_are_pictures, check_has_motion

    if found.origins["motion_module"] != DEFAULT:
        check_has_motion(found.values["motion_module"])
    entry = _required(_sparsectrl(_base(found)), found, "SparseCtrl for pictures")
    images = [ImageEntry.read(value) for value in cast("Sequence[object]", found.values["images"])]
    check_are_pictures(images)
    gaps = max(1, len(images) - 1)
    added = []
    for number, image in enumerate(images):
        frames = image.frames or f"{100 * number / gaps:g}%"
        fields = image.model_dump(exclude_defaults=True) | {"frames": frames, "ref": entry.alias}
        if found.values["preprocess"] != "auto":  # which is for the other controls
            fields["preprocess"] = "none"
        added.append(ControlEntry.model_validate(fields).stored())
    return {"images": (), "controls": (*cast("Sequence[object]", found.values["controls"]), *added)}


def _by_pia(found: Resolved[GenerateConfig]) -> Mapping[str, object]:
    """Return the motion module, if none is named."""
    if found.origins["motion_module"] != DEFAULT:
        return {}
    return {"motion_module": _required(_pia(_base(found)), found, "PIA module").alias}


#: methods that change other settings
_SETTINGS = {"sparsectrl": _by_sparsectrl, "pia": _by_pia}


def _required(entry: CatalogEntry | None, found: Resolved[GenerateConfig], noun: str) -> CatalogEntry:
    """Return an entry that is on this machine. Raises as `with_image_method`."""
    if entry is None:
        raise UsageError(
            f"there is no {noun} for the image model `{found.values['model']}`",
            hint=f"use `{FLAG} blend`, which needs no weights",
        )
    if not is_local(entry):
        raise not_downloaded(entry)
    return entry


def _sparsectrl(base: str | None) -> CatalogEntry | None:
    """Return a SparseCtrl of a base that takes pictures, one on this machine first."""
    return _here_first(e for e in load_catalog().of_kind("sparsectrl") if e.base == base and _takes_pictures(e))


def _takes_pictures(sparsectrl: CatalogEntry) -> bool:
    """Return whether a SparseCtrl is one for pictures: by the catalog, or by the file of a user's own entry."""
    path = None if sparsectrl.condition else local_path(sparsectrl)
    if path is None:
        return sparsectrl.condition == "rgb"
    try:
        return RGB in identify(path).notes
    except AnimdiffError:  # reported where it is opened
        return False


def _pia(base: str | None) -> CatalogEntry | None:
    """Return a PIA module of a base, one on this machine first."""
    return _here_first(e for e in load_catalog().of_kind("motion-module") if e.base == base and e.version == "pia")


def _here_first(entries: Iterable[CatalogEntry]) -> CatalogEntry | None:
    found = list(entries)
    return next((entry for entry in found if is_local(entry)), found[0] if found else None)


def _base(found: Resolved[GenerateConfig]) -> str | None:
    """Return the base of the image model; None if it is not known."""
    ref = parse_ref(str(found.values["model"]))
    if ref.source == "alias" and ref.target in load_catalog():
        return load_catalog().find(ref.target).base
    from animdiff_cli.diffusion.patches import model_base  # torch loads here

    try:
        return model_base(locate(ref, "base").path)
    except AnimdiffError:  # reported where the model is checked
        return None


def _version(module: str) -> str | None:
    """Return the version of a motion module; None if it is not known, or not on this machine."""
    if version := version_of_alias(module):
        return version
    try:
        return identify(locate(parse_ref(module), "motion-module").path).version
    except AnimdiffError:
        return None
