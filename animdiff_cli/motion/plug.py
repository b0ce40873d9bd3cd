"""The plug: attach a motion module to a stock UNet by forward hooks, and take it off again.

Nothing in the UNet changes: not its module tree, not its names, not its `state_dict`. Whatever works on the image
model (LoRA loaders, ControlNet residuals, IP-Adapter, `save_pretrained`) keeps working while motion is plugged in.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from animdiff_cli.errors import UsageError
from animdiff_cli.motion.module import MotionModule, TemporalTransformer, fold_clip, unfold_clip
from animdiff_cli.motion.spec import MotionSpec

_ATTRIBUTE = "_animdiff_plugged"


@dataclass(frozen=True, slots=True)
class Plugged:
    """What `plug` attached. Kept on the UNet as a plain attribute, so no parameter is registered there."""

    motion: MotionModule
    handles: tuple[RemovableHandle, ...]


def plug(unet: Any, motion: MotionModule) -> None:
    """Attach `motion` to a stock `UNet2DConditionModel`; the module moves to the UNet's device and dtype.

    The UNet then takes batches [B*F, 4, H, W] inside `with motion.frames(F):`. Raises `UsageError` if the layouts do
    not fit, before anything is attached; `RuntimeError` if a motion module is plugged in already.
    """
    if plugged(unet) is not None:
        raise RuntimeError("a motion module is plugged in already: `unplug(unet)` first")
    sites = dict(plug_points(unet))
    check_fit(unet.config, motion.spec)
    motion.to(device=unet.device, dtype=unet.dtype)
    handles = [
        sites[name].register_forward_hook(_move(motion, motion.transformer(name))) for name in motion.spec.widths()
    ]
    if motion.spec.traits.resnet_norms_across_frames:
        for norm in _image_norms(unet):
            handles += _norm_across_frames(norm, motion)
    setattr(unet, _ATTRIBUTE, Plugged(motion, tuple(handles)))


def unplug(unet: Any) -> MotionModule | None:
    """Detach and return the motion module; the UNet is then what it was before, to the bit."""
    attached = plugged(unet)
    if attached is None:
        return None
    for handle in attached.handles:
        handle.remove()
    delattr(unet, _ATTRIBUTE)
    return attached.motion


def plugged(unet: Any) -> Plugged | None:
    """Return what is attached to `unet`, if anything is."""
    return unet.__dict__.get(_ATTRIBUTE)


def plug_points(unet: Any) -> Iterator[tuple[str, nn.Module]]:
    """Yield the official name of each plug point with the layer whose output a temporal transformer takes over.

    That layer is the spatial transformer, or the ResNet in blocks without attention.
    """
    for group in ("down_blocks", "up_blocks"):
        for index, block in enumerate(getattr(unet, group)):
            layers = getattr(block, "attentions", None) or block.resnets
            for position, layer in enumerate(layers):
                yield f"{group}.{index}.motion_modules.{position}", layer
    for position, layer in enumerate(unet.mid_block.attentions):
        yield f"mid_block.motion_modules.{position}", layer


def check_fit(unet_config: Mapping[str, Any], spec: MotionSpec) -> None:
    """Raise `UsageError` unless every temporal transformer finds a plug point of its width, and none stays empty.

    Needs no weights: a UNet's config tells its plug points.
    """
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


def _move(motion: MotionModule, transformer: TemporalTransformer) -> Callable[..., Any]:
    """Return a forward hook. Spatial transformers return a tuple or an output record, ResNets a tensor."""

    def hook(_layer: nn.Module, _args: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return transformer(output, motion.num_frames)
        moved = transformer(output[0], motion.num_frames)
        return (moved, *output[1:]) if isinstance(output, tuple) else type(output)(sample=moved)

    return hook


def _image_norms(unet: Any) -> Iterator[nn.GroupNorm]:
    """Yield the norms v1 was trained to see across frames: two per ResNet, and the one before `conv_out`."""
    for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
        for resnet in block.resnets:
            yield resnet.norm1
            yield resnet.norm2
    yield unet.conv_norm_out


def _norm_across_frames(norm: nn.GroupNorm, motion: MotionModule) -> list[RemovableHandle]:
    def fold(_norm: nn.Module, args: tuple[Tensor]) -> Tensor:
        return fold_clip(args[0], motion.num_frames)

    def unfold(_norm: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return unfold_clip(output, motion.num_frames)

    return [norm.register_forward_pre_hook(fold), norm.register_forward_hook(unfold)]
