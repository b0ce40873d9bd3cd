"""The conditions that the study compares: models, motion modules, adapters and MotionLoRAs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from tools.pocket.study.settings import (
    ADAPTER_SCALES,
    CHECKPOINTS,
    COMPOSED,
    FEW_STILLS,
    LORAS,
    MANY_STILLS,
    RANKS,
    SHOTS,
    VARIED_SHOT,
    Scale,
)

Part = Literal["plug", "adapter", "lora", "schedules", "table1"]
PARTS: tuple[Part, ...] = ("plug", "adapter", "lora", "schedules", "table1")

Measure = Literal["law", "style", "constancy", "watermark", "asked", "camera", "clip"]

Module = Literal["bundled", "linear", "scaled", "convolution", "none", "with-adapter", "without-adapter"]
MODULES: tuple[Module, ...] = ("bundled", "linear", "convolution", "none")
STYLES: tuple[str, ...] = ("base", *CHECKPOINTS, *LORAS)
#: motion modules plugged into each style; the one trained from scratch is the baseline for schedules and convolution
PLUGGED: tuple[tuple[str, Module], ...] = tuple(
    (style, module) for style in STYLES for module in MODULES if module != "linear" or style == "base"
)

#: training of each module
TRAINED: Mapping[Module, str] = MappingProxyType(
    {
        "linear": "motion-linear",
        "scaled": "motion-scaled",
        "convolution": "temporal-convolution",
        "with-adapter": "motion-with-adapter",
        "without-adapter": "motion-without-adapter",
    }
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A set of clips that differ only in prompt and seed.

    `adapter` is the scale of the domain adapter; `cameras` are trainings of MotionLoRAs, `shots` their camera moves.
    """

    name: str
    parts: tuple[Part, ...]
    measures: tuple[Measure, ...]
    style: str = "base"  # of the image model
    module: Module = "bundled"
    adapter: float = 0.0
    cameras: tuple[str, ...] = ()
    shots: tuple[str, ...] = ()
    clips_per_kind: int = 2
    num_frames: int = 16

    @property
    def needs(self) -> tuple[str, ...]:
        """Return the names of the trainings that it uses."""
        style = () if self.style == "base" else (style_job(self.style),)
        module = (TRAINED[self.module],) if self.module in TRAINED else ()
        adapter = ("adapter",) if self.adapter else ()
        return (*style, *module, *adapter, *self.cameras)

    def flags(self, result: Mapping[str, Path], *, steps: int) -> dict[str, object]:
        """Return its settings for `animdiff generate`; `result` is the file of each training it uses.

        A temporal convolution uses the settings of the bundled motion module, which it replaces.
        """
        flags: dict[str, object] = {**PLAIN, "steps": steps, "motion_module": "pocket-motion"}
        if self.style in CHECKPOINTS:
            flags["model"] = str(result[style_job(self.style)].parent)
        elif self.style in LORAS:
            flags["loras"] = [str(result[style_job(self.style)])]
        if self.module == "none":
            flags["motion_module"] = None
        elif self.module in TRAINED and self.module != "convolution":
            flags["motion_module"] = str(result[TRAINED[self.module]])
        if self.module == "scaled":
            flags["beta_schedule"] = "scaled_linear"
        if self.adapter:
            flags["domain_adapter"] = f"{result['adapter']}@{self.adapter:g}"
        if self.cameras:
            flags["motion_loras"] = [str(result[name]) for name in self.cameras]
        return flags


#: recommended settings of the bundled model; a checkpoint in a folder has none
PLAIN: Mapping[str, object] = MappingProxyType(
    {"model": "pocket", "width": 128, "height": 128, "guidance_scale": 5.0, "scheduler": "ddim", "fps": 8.0}
)


def style_job(style: str) -> str:
    """Return the name of the training of a style's image model."""
    return f"style-{style}"


def look_job(style: str) -> str:
    """Return the name of the training of a checkpoint's decoder."""
    return f"look-{style}"


def camera_job(shot: str, *, rank: int | None = None, stills: int | None = None) -> str:
    """Return the name of the training of a MotionLoRA; None stands for the default."""
    return f"camera-{shot}" + (f"-rank-{rank}" if rank else "") + (f"-stills-{stills}" if stills else "")


def all_conditions(scale: Scale) -> list[Condition]:
    """List every condition of the study, in the order of the page."""
    return [*_plug(scale), *_adapter(scale), *_lora(scale), *_schedules(scale), *_stills(scale)]


def _plug(scale: Scale) -> Iterator[Condition]:
    measures: tuple[Measure, ...] = ("law", "style", "clip")
    for style, module in PLUGGED:
        yield Condition(
            f"plug-{style}-{module}",
            ("plug", "table1", *_compared_in(style, module)),
            (*measures, *_more(style, module)),
            style=style,
            module=module,
            clips_per_kind=scale.clips_per_kind,
        )


def _compared_in(style: str, module: Module) -> tuple[Part, ...]:
    return ("adapter", "lora") if (style, module) == ("base", "bundled") else ()


def _more(style: str, module: Module) -> tuple[Measure, ...]:
    """Add camera and watermark of the bundled model, the baseline of parts 2 and 3."""
    if style != "base":
        return ()  # the classifier of objects is trained on the base style only
    return ("constancy", "camera", "watermark", "asked") if module == "bundled" else ("constancy",)


def _adapter(scale: Scale) -> Iterator[Condition]:
    measures: tuple[Measure, ...] = ("law", "watermark", "asked")
    for strength in ADAPTER_SCALES:
        name = f"adapter-{round(100 * strength):03}"
        yield Condition(
            name, ("adapter",), measures, module="with-adapter", adapter=strength, clips_per_kind=scale.clips_per_kind
        )
    yield Condition(
        "adapter-never", ("adapter",), measures, module="without-adapter", clips_per_kind=scale.clips_per_kind
    )


def _lora(scale: Scale) -> Iterator[Condition]:
    for name, cameras, shots in _cameras():
        yield Condition(
            name, ("lora",), ("camera", "law"), cameras=cameras, shots=shots, clips_per_kind=scale.clips_per_kind
        )


def _cameras() -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Yield name, MotionLoRAs and shots of each condition of part 3."""
    varied = (VARIED_SHOT,)
    yield from ((f"lora-{shot}", (camera_job(shot),), (shot,)) for shot in SHOTS)
    yield from ((f"lora-rank-{rank}", (camera_job(VARIED_SHOT, rank=rank),), varied) for rank in RANKS)
    for stills in (FEW_STILLS, MANY_STILLS):
        yield f"lora-stills-{stills}", (camera_job(VARIED_SHOT, stills=stills),), varied
    yield "lora-composed", tuple(camera_job(shot) for shot in COMPOSED), COMPOSED


def _schedules(scale: Scale) -> Iterator[Condition]:
    modules: tuple[Module, ...] = ("linear", "scaled")
    for module in modules:
        yield Condition(
            f"schedule-{module}",
            ("schedules",),
            ("law", "constancy", "clip"),
            module=module,
            clips_per_kind=scale.schedule_clips_per_kind,
        )


def _stills(scale: Scale) -> Iterator[Condition]:
    for style in STYLES:
        yield Condition(
            f"stills-{style}",
            ("plug", "table1"),
            ("style",),
            style=style,
            module="none",
            clips_per_kind=scale.stills_per_kind,
            num_frames=1,
        )
