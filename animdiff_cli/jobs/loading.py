"""Load the weights of a render, and plug them together."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

from animdiff_cli.core.events import Emit, Loading, Note, ignore
from animdiff_cli.diffusion.build import load_components
from animdiff_cli.diffusion.control import ControlFile, load_control
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.image_prompt import ImagePromptNetwork, load_image_encoder, load_ip_adapter
from animdiff_cli.diffusion.low_vram import loaded_at_level, low_vram_of
from animdiff_cli.diffusion.patches import apply_patches
from animdiff_cli.jobs.animator import Animator
from animdiff_cli.jobs.weights import CheckedWeights
from animdiff_cli.motion import MotionModule, load_motion_module, plug
from animdiff_cli.motion.beside import read_for_motion, read_for_unet
from animdiff_cli.motion.lora import merge_motion_loras
from animdiff_cli.motion.mix import mix
from animdiff_cli.motion.pia import read_pia_channels


def load_animator(checked: CheckedWeights, plan: DevicePlan, *, emit: Emit = ignore) -> Animator:
    """Load the image model with its patches, and plug the motion module in. The weights were checked and opened.

    If memory runs out, they are loaded again for less of it. Raises `DeviceError` if there is too little for any.
    """
    return loaded_at_level(lambda plan: _load(checked, plan, emit), plan, lambda message: emit(Note(message)))


def _load(checked: CheckedWeights, plan: DevicePlan, emit: Emit) -> Animator:
    weights = checked.files
    for note in checked.patches.notes:
        emit(Note(note))
    motion = _load_motion(checked, plan, emit) if weights.motion_module else None
    pia = read_pia_channels(checked.pia) if checked.pia else None
    pool = ThreadPoolExecutor(1, thread_name_prefix="sha256")
    hashes = pool.submit(weights.hashes)
    pool.shutdown(wait=False)  # the recipe needs them, at the end
    emit(Loading(f"image model {weights.model.name}"))
    patches = checked.patches
    changes = partial(apply_patches, patches=patches, plan=plan) if patches.vae or patches.embeddings else None
    components = load_components(
        weights.model, plan, changes, needs_vae=weights.vae is None, loras=checked.patches.loras
    )
    if motion:
        motion = plug(components.unet, motion)
    loras = [read_for_unet(lora, components.unet).to(plan.device) for lora in patches.scheduled]
    if motion:
        loras += [read_for_motion(lora, motion).to(plan.device) for lora in checked.scheduled_motion_loras]
    networks = {control.path: control for control in checked.controls}  # several controls may have one
    loaded = {path: _load_control(control, plan, emit) for path, control in networks.items()}
    controls = tuple((control, loaded[control.path]) for control in checked.controls)
    adapters = _load_image_prompts(checked, plan, emit)
    low_vram = low_vram_of(components, motion, controls, adapters, can_group=not loras)
    parts = (tuple(loras), controls, adapters, pia, low_vram, weights.preprocess_weights)
    return Animator(components, motion, hashes, checked.patches.embeddings, (), *parts)


def _load_image_prompts(checked: CheckedWeights, plan: DevicePlan, emit: Emit) -> tuple[ImagePromptNetwork, ...]:
    """Load the image encoder and every IP-Adapter once, also where several pictures are for one."""
    if checked.image_encoder is None:
        return ()
    emit(Loading(f"image encoder {checked.image_encoder.path.name}"))
    encoder = load_image_encoder(checked.image_encoder, plan)
    loaded: dict[Path, ImagePromptNetwork] = {}
    for adapter in checked.image_prompts:
        if adapter.path not in loaded:
            emit(Loading(f"IP-Adapter {adapter.path.name}"))
            loaded[adapter.path] = load_ip_adapter(adapter, encoder, plan)
    return tuple(loaded[adapter.path] for adapter in checked.image_prompts)


def _load_control(control: ControlFile, plan: DevicePlan, emit: Emit) -> Any:
    emit(Loading(f"control {control.path.name}"))
    return load_control(control, plan)


def _load_motion(checked: CheckedWeights, plan: DevicePlan, emit: Emit) -> MotionModule:
    """Load the motion module onto the device. MotionLoRAs are added in float32; plugging it in rounds."""
    weights, loras = checked.files, checked.motion_loras
    assert weights.motion_module
    dtype = torch.float32 if loras else plan.torch_dtype
    paths = [module.path for module in weights.motion_modules] or [weights.motion_module]
    motions = []
    for path, file in zip(paths, checked.mixed_motion or (checked.motion,), strict=True):
        emit(Loading(f"motion module {path.name}"))
        motion = load_motion_module(path, weights.motion_version, dtype=dtype, device=plan.load_device, file=file)
        merge_motion_loras(motion, loras)
        motions.append(motion)
    return mix(motions) if weights.motion_modules else motions[0]
