"""Networks on a device with little memory: weights that rest on the CPU, and what to do when memory runs out."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from animdiff_cli.core.choices import WeightsDtype
from animdiff_cli.core.memory_levels import UNITS, MemoryLevel, Phase
from animdiff_cli.core.weight_units import UNIT_BYTES
from animdiff_cli.diffusion.build import Components
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.frame_groups import group_frames
from animdiff_cli.diffusion.memory import is_out_of_memory, out_of_memory_as_device_error
from animdiff_cli.diffusion.text_encoders import Report, ignore_report
from animdiff_cli.diffusion.weight_store import WeightStore
from animdiff_cli.motion import MotionModule, plugged

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class LowVram:
    """The networks of a render, and the memory level that they are at."""

    device: torch.device
    level: MemoryLevel
    denoisers: Sequence[Any]  # UNet, motion module, control networks
    others: Sequence[Any]  # text encoders, VAE, image encoder
    vae: Any
    dtype: torch.dtype
    weights_dtype: WeightsDtype = "same"
    can_group: bool = True  # no LoRA changes the feed-forward layers of each frame by itself
    steps_down: bool = True
    _denoisers: WeightStore | None = None
    _others: WeightStore | None = None

    def __post_init__(self) -> None:
        """Put the networks, which may be on the CPU, where the level wants them."""
        self._apply()

    @property
    def recorded(self) -> str | None:
        """What a recipe says; None if everything is on the device."""
        return None if self.level.mode == "off" else str(self.level)

    def without_encoders(self) -> None:
        """Free the device of the weights that encoding needed, where they rest on the CPU."""
        if self._others is not None:
            self._others.release()

    def without_denoiser(self) -> None:
        """Free the device of the weights that denoising needed, where they rest on the CPU."""
        if self._denoisers is not None:
            self._denoisers.release()

    @property
    def to_load(self) -> int:
        """Bytes of weights that a UNet call brings to the device."""
        store = self._denoisers
        if store is None or self.level.mode == "off":
            return 0
        return store.bytes if self.level.mode == "offload" else UNITS * store.unit_bytes

    def next_level(self, phase: Phase) -> MemoryLevel | None:
        """Return the level with less memory in a phase; None if this is the last that may be used."""
        return self.level.next(phase, can_group=self.can_group) if self.steps_down else None

    def go_to(self, level: MemoryLevel) -> None:
        """Put everything where a level wants it."""
        self.level = level
        self._apply()
        free_cached()

    def _apply(self) -> None:
        mode, cpu = self.level.mode, torch.device("cpu")
        if self._denoisers is None and (mode != "off" or self.weights_dtype == "fp8"):
            self._denoisers = WeightStore(self.denoisers, self.device, self.dtype, unit_bytes=UNIT_BYTES)
            if self.weights_dtype == "fp8":
                self._denoisers.compress()
        if self._others is None and mode != "off":
            self._others = WeightStore(self.others, self.device, self.dtype, unit_bytes=UNIT_BYTES)
            self._others.rest(cpu)
        if self._denoisers is not None:
            self._denoisers.rest(self.device if mode == "off" else cpu, hold=mode == "offload")
        if mode == "off":
            for network in [*self.others, *(() if self._denoisers else self.denoisers)]:
                network.to(self.device)
        group_frames([*self.denoisers], self.level.groups)
        if self.level.tile:
            self.vae.enable_tiling()
            self.vae.tile_latent_min_size = self.level.tile
            self.vae.tile_sample_min_size = 8 * self.level.tile


def with_less_memory(
    compute: Callable[[], T],
    low_vram: LowVram | None,
    phase: Phase,
    *,
    doing: str,
    report: Report = ignore_report,
) -> T:
    """Return what `compute` does. If memory runs out, go to a lower level and compute again.

    `doing` is what goes on, for the note: `continuing with step 7`. At the last level the error is raised.
    """
    while True:
        try:
            return compute()
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            level = low_vram.next_level(phase) if low_vram and is_out_of_memory(error) else None
            if low_vram is None or level is None:
                raise
        # not in the handler: its traceback holds the tensors of what failed
        free_cached()
        low_vram.go_to(level)
        report(f"out of memory on {low_vram.device}: {doing} at `{low_vram.level}`")


def low_vram_of(
    components: Components,
    motion: MotionModule | None,
    controls: Sequence[tuple[Any, Any]],
    image_prompts: Sequence[Any],
    *,
    can_group: bool,
) -> LowVram | None:
    """Put loaded networks where the memory level of their plan wants them. None if it is fixed and moves nothing.

    `controls` are pairs of anything and a network, `image_prompts` have an `encoder`.
    """
    plan = components.plan
    if not plan.steps_down and plan.level.mode == "off" and plan.weights_dtype == "same":
        return None
    networks = [network for _, network in controls]
    plugs = [attached.motion for network in networks if (attached := plugged(network))]
    encoders = [components.text_encoder, components.text_encoder_2, *(prompt.encoder for prompt in image_prompts)]
    return LowVram(
        plan.device,
        plan.level,
        denoisers=[components.unet, *([motion] if motion else []), *networks, *plugs],
        others=[*{id(encoder): encoder for encoder in encoders if encoder is not None}.values(), components.vae],
        vae=components.vae,
        dtype=plan.torch_dtype,
        weights_dtype=plan.weights_dtype,
        can_group=can_group,
        steps_down=plan.steps_down,
    )


def loaded_at_level(load: Callable[[DevicePlan], T], plan: DevicePlan, report: Report) -> T:
    """Return what `load` loads for a plan. If memory runs out, load for a level with less. Raises `DeviceError`."""
    hint = "use a smaller image model, fewer controls, or `--device cpu`"
    with out_of_memory_as_device_error("loading the weights", plan.device, hint=hint):
        while True:
            if plan.level.mode != "off":
                report(f"little memory on {plan.device}: rendering at `{plan.level}`")
            try:
                return load(plan)
            except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
                level = plan.level.next("denoising") if plan.steps_down and is_out_of_memory(error) else None
                if level is None or level.mode == plan.level.mode:
                    raise
            plan = replace(plan, level=level)
            free_cached()


def free_cached() -> None:
    """Return memory to the device that nothing uses."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
