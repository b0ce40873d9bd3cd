"""The plug: attach a motion module to a stock diffusers UNet by forward hooks.

Nothing in the UNet changes: not its module tree, not its names, not its `state_dict`. LoRA loaders, ControlNet
residuals, IP-Adapter and `save_pretrained` keep working while a motion module is plugged in.
"""

import copy
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from animdiff_cli.errors import UsageError
from animdiff_cli.motion.module import MotionModule, TemporalTransformer, fold_clip, norm_input, unfold_clip
from animdiff_cli.motion.spec import MotionSpec
from animdiff_cli.motion.unet import UNet
from animdiff_cli.motion.windows import windowed_group_norm

_ATTRIBUTE = "_animdiff_plugged"


@dataclass(frozen=True, slots=True)
class Plugged:
    """What `plug` attached. Kept on the UNet as a plain attribute, so no parameter is registered there."""

    motion: MotionModule
    handles: tuple[RemovableHandle, ...]


def plug(unet: UNet, motion: MotionModule) -> MotionModule:
    """Attach `motion` to a stock `UNet2DConditionModel` and return the attached module.

    That is `motion` itself, or a copy of it where the UNet has another device or dtype: `motion` is never changed. The
    UNet then takes batches [B*F, 4, H, W] inside `with plug(unet, motion).frames(F):`. Functions compiled around the
    UNet earlier are compiled again.

    Raises `UsageError` if the layouts do not fit, before anything is attached; `RuntimeError` if a motion module is
    already plugged in.
    """
    unet = _unwrapped(unet)
    if plugged(unet) is not None:
        raise RuntimeError("a motion module is already plugged in: `unplug(unet)` first")
    check_fit(unet.config, motion.spec)
    layers = dict(plug_points(unet))
    motion = _converted(motion, unet.device, unet.dtype)
    handles = [
        layers[name].register_forward_hook(_MotionHook(motion, motion.transformer(name)))
        for name in motion.spec.widths()
    ]
    if motion.spec.traits.resnet_norms_across_frames:
        for norm in _image_norms(unet):
            handles.append(norm.register_forward_pre_hook(_FoldHook(motion)))
            handles.append(norm.register_forward_hook(_UnfoldHook(motion)))
    setattr(unet, _ATTRIBUTE, Plugged(motion, tuple(handles)))
    _recompile()
    return motion


def unplug(unet: UNet) -> MotionModule | None:
    """Detach and return the motion module; the UNet is then bit-identical to what it was before."""
    unet = _unwrapped(unet)
    attached = plugged(unet)
    if attached is None:
        return None
    for handle in attached.handles:
        handle.remove()
    delattr(unet, _ATTRIBUTE)
    _recompile()
    return attached.motion


def plugged(unet: UNet) -> Plugged | None:
    """Return what is attached to `unet`, if anything is."""
    attached: Plugged | None = _unwrapped(unet).__dict__.get(_ATTRIBUTE)
    return attached


def plug_points(unet: UNet) -> Iterator[tuple[str, nn.Module]]:
    """Yield the official name of each plug point with the layer whose output a temporal transformer takes.

    That layer is the spatial transformer, or the ResNet in blocks without attention.
    """
    for group in ("down_blocks", "up_blocks"):
        for index, block in enumerate(getattr(unet, group, ())):  # a ControlNet has no up blocks
            layers = getattr(block, "attentions", None) or block.resnets
            for position, layer in enumerate(layers):
                yield f"{group}.{index}.motion_modules.{position}", layer
    for position, layer in enumerate(getattr(unet.mid_block, "attentions", ())):
        yield f"mid_block.motion_modules.{position}", layer


def check_fit(unet_config: Mapping[str, Any], spec: MotionSpec) -> None:
    """Raise `UsageError` unless the motion module has a temporal transformer of the right width at every plug point.

    Needs no weights: the UNet's config describes its plug points.
    """
    if spec.mid and not unet_config.get("mid_block_type", "UNetMidBlock2DCrossAttn"):
        raise UsageError(
            f"this {spec.version} motion module needs a mid block, and the image model has none",
            hint="use a motion module without a mid block, such as v3",
        )
    fitting = MotionSpec.for_unet(unet_config, spec.version).widths()
    have = spec.widths()
    if have == fitting:
        return
    differing = sorted(name for name in have.keys() | fitting.keys() if have.get(name) != fitting.get(name))
    name = differing[0]
    raise UsageError(
        f"this {spec.version} motion module does not fit the image model: {len(differing)} of"
        f" {len(have.keys() | fitting.keys())} plug points differ, first `{name}`"
        f" (module {have.get(name, 'none')}, model {fitting.get(name, 'none')} channels)",
        hint="pair a motion module with an image model of the base it was trained on (sd15, sdxl or pocket)",
    )


@dataclass(frozen=True, slots=True)
class _MotionHook:
    """Run a temporal transformer on a layer's output. Hooks are objects, so that a copied UNet runs its own copies."""

    motion: MotionModule
    transformer: TemporalTransformer

    def __call__(self, _layer: nn.Module, _args: Any, output: Any) -> Any:
        """Spatial transformers return a tuple or an output record, ResNets a tensor."""
        if not self.motion.state.enabled:
            return output
        if isinstance(output, Tensor):
            return self._move(output)
        moved = self._move(output[0])
        return (moved, *output[1:]) if isinstance(output, tuple) else type(output)(sample=moved)

    def _move(self, hidden: Tensor) -> Tensor:
        num_frames = self.motion.num_frames
        if len(hidden) % num_frames:
            raise ValueError(f"a batch of {len(hidden)} images does not divide into clips of {num_frames} frames")
        dtype = self.transformer.norm.weight.dtype
        if hidden.dtype != dtype and not torch.is_autocast_enabled(hidden.device.type):
            raise RuntimeError(
                f"the UNet computes in {hidden.dtype} and its motion module in {dtype}: `unplug`, cast, `plug` again"
            )
        state = self.motion.state
        moved: Tensor = self.transformer(hidden, num_frames, state.scale, state.windows)
        return moved


@dataclass(frozen=True, slots=True)
class _FoldHook:
    """Before a norm of the image model: stack the frames of a clip, so that statistics span all of them.

    Context windows have statistics of their own, as in training. In a clip of three scenes, a UNet call then differs by
    4 % from windows around the UNet; with statistics of the whole clip, by 11 % (pocket model, timestep 300).
    """

    motion: MotionModule

    def __call__(self, norm: nn.Module, args: tuple[Tensor]) -> Tensor | None:
        if not self.motion.state.enabled or self.motion.state.windows:
            return None
        return norm_input(norm, fold_clip(args[0], self.motion.num_frames))


@dataclass(frozen=True, slots=True)
class _UnfoldHook:
    """After such a norm: take the frames apart again, or replace its output by that of windows."""

    motion: MotionModule

    def __call__(self, norm: nn.GroupNorm, args: tuple[Tensor], output: Tensor) -> Tensor | None:
        state = self.motion.state
        if not state.enabled:
            return None
        if state.windows:
            return windowed_group_norm(norm, args[0], self.motion.num_frames, state.windows)
        return unfold_clip(output, self.motion.num_frames)


def frames_of_norm(norm: nn.Module) -> int | None:
    """Return how many images of the current UNet call share the statistics of this norm: 1, or the frames of a clip.

    None if other hooks, or context windows inside the UNet, change what the norm computes.
    """
    hooks = [*norm._forward_pre_hooks.values(), *norm._forward_hooks.values()]
    own = [hook for hook in hooks if isinstance(hook, (_FoldHook, _UnfoldHook))]
    if len(own) < len(hooks):
        return None
    if not own or not own[0].motion.state.enabled:
        return 1
    return None if own[0].motion.state.windows else own[0].motion.num_frames


def _image_norms(unet: UNet) -> Iterator[nn.GroupNorm]:
    """Yield the norms that v1 was trained to see across frames: two per ResNet, and the one before `conv_out`."""
    for block in (*unet.down_blocks, *([unet.mid_block] if unet.mid_block else []), *unet.up_blocks):
        for resnet in block.resnets:
            yield resnet.norm1
            yield resnet.norm2
    yield unet.conv_norm_out


def _converted(motion: MotionModule, device: torch.device, dtype: torch.dtype) -> MotionModule:
    """Return `motion`, or a copy of it if it has another device or dtype."""
    changed = [p for p in motion.parameters() if (p.device, p.dtype) != (device, dtype)]
    if not changed:
        return motion
    # converted in the copy's memo, so that no second copy in the old dtype exists in between
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach().to(device, dtype), p.requires_grad) for p in changed}
    memo[id(motion.state)] = motion.state  # `frames` of either applies to both
    copied: MotionModule = copy.deepcopy(motion, memo).to(device=device, dtype=dtype)
    return copied


def _unwrapped(unet: UNet) -> UNet:
    """Return the UNet inside `torch.compile(unet)`."""
    inner: UNet = getattr(unet, "_orig_mod", unet)
    return inner


def _recompile() -> None:
    """Drop compiled code: torch does not notice hooks that come and go."""
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
