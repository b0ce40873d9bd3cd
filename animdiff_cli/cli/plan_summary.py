"""The summary of a plan: its clips, their weights, and everything they are rendered from."""

from typing import TYPE_CHECKING

from animdiff_cli.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from animdiff_cli.config.schema import GenerateConfig
    from animdiff_cli.jobs.render_plan import RenderPlan

MAX_LISTED = 3  # inputs of one kind, of several clips


def summary(plan: "RenderPlan", configs: "Sequence[GenerateConfig]") -> str:
    """Describe clips of one set of weights in one line."""
    config = configs[0]
    frames = _span((config.num_frames for config in configs), "frame")
    sizes = _listed(f"{config.width}x{config.height}" for config in configs)
    modules = " and ".join(config.motion_modules) or config.motion_module
    motion = f"{config.model} with {modules}" if modules else f"{config.model} without motion"
    steps = (
        f"{_span((config.steps for config in configs), 'step')} of {_listed(config.scheduler for config in configs)}"
    )
    clips = f"{counted(len(configs), 'clip')} of {frames} of {sizes}"
    return f"{clips}: {', '.join([motion, *_weights(config), *_inputs(configs), steps, str(plan.device.device)])}"


def _weights(config: "GenerateConfig") -> "Iterator[str]":
    """Yield what is applied to the image model or the motion module: the same for all clips of a set of weights."""
    from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS

    for key, setting in WEIGHT_SETTINGS.items():
        if setting.label and setting.entry is None:
            value = getattr(config, key)
            yield from (f"{setting.label} {name}" for name in (value if setting.is_list else [value]) if name)


def _inputs(configs: "Sequence[GenerateConfig]") -> "Iterator[str]":
    """Yield what clips are rendered from beside their prompts. Of several clips, the first few of each kind."""
    most = MAX_LISTED if len(configs) > 1 else None
    by_noun: dict[str, dict[str, None]] = {}
    for config in configs:
        for noun, text in _of_clip(config):
            by_noun.setdefault(noun, {})[text] = None
    for noun, texts in by_noun.items():
        yield from (f"{noun} {text}" for text in list(texts)[:most])
        if most and len(texts) > most:
            yield f"{len(texts) - most} more"


def _of_clip(config: "GenerateConfig") -> "Iterator[tuple[str, str]]":
    from animdiff_cli.config.input_settings import INPUT_SETTINGS, SteeredEntry, entries_of
    from animdiff_cli.jobs.image_method import is_picture

    for key, setting in INPUT_SETTINGS.items():
        for entry in entries_of(setting, getattr(config, key)):
            if key == "images":
                yield "picture", f"{entry.text()} by {'blend' if config.blends_images else config.image_method}"
            elif isinstance(entry, SteeredEntry) and config.image_method == "sparsectrl" and is_picture(entry.ref):
                yield "picture", f"{entry.source}@{entry.frames} by {entry.ref}"
            else:
                yield setting.noun, f"{entry.text()} {entry.section}" if entry.section else entry.text()
    if config.video or config.blends_images:
        yield "denoise", f"{config.denoise}"
    if config.invert:
        yield "DDIM", "inversion"


def _span(numbers: "Iterable[int]", noun: str) -> str:
    least, *_, most = sorted([*numbers] * 2)
    return counted(most, noun) if least == most else f"{least} to {counted(most, noun)}"


def _listed(names: "Iterable[str]") -> str:
    return " and ".join(dict.fromkeys(names))
