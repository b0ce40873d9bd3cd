"""DeepCache (Ma et al. 2023, arXiv 2312.00858): deep layers of a UNet run in some calls, and are reused in others.

Features deep inside the UNet change little from one step to the next. In between only its outermost layers run: the
first convolution and the last layer of the decoder, a ResNet with its transformers, spatial and temporal. This is the
first branch of the paper, its skip connection the outermost one.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from animdiff_cli.core.reuse import ReuseSchedule
from animdiff_cli.diffusion.conditions.condition import UNetCall
from animdiff_cli.motion.unet import UNet


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a call of the whole UNet leaves for later ones."""

    hidden: Tensor  # input of the last layer of the decoder, without its skip connection, [rows*F, C, h, w]
    residuals: Sequence[Tensor]  # of ControlNets, for the skip connection between the outermost layers: one or none


class DeepCache:
    """Calls a UNet for one clip. What is kept of each window of frames is on the device `store`."""

    def __init__(self, unet: UNet, interval: int, store: torch.device) -> None:
        self._unet = unet
        self._schedule = ReuseSchedule(interval)
        self._store = store
        self._recall = _Recall()
        self._outermost = outermost_layers(unet, self._recall)
        self._kept: dict[tuple[int, ...], _Kept] = {}

    def is_deep(self, frames: Sequence[int], step: int, rows: int) -> bool:
        """Return whether the next call, of these frames, computes the deep layers."""
        return self._schedule.is_deep(tuple(frames), step, rows)

    def __call__(self, batch: Tensor, call: UNetCall, unet_kwargs: Mapping[str, Any]) -> Tensor:
        """Return the prediction for images [rows*F, C, h, w]."""
        window = tuple(call.frames)
        if not call.is_deep:
            return self._call_outermost(batch, call.timestep, unet_kwargs, self._kept[window])
        output, hidden = self._call_whole(batch, call.timestep, unet_kwargs)
        kept = (hidden, *unet_kwargs.get("down_block_additional_residuals", ())[:1])
        hidden, *residuals = (part.to(self._store) for part in kept)
        self._kept = {other: kept for other, kept in self._kept.items() if self._schedule.keeps(other)}
        self._kept[window] = _Kept(hidden, residuals)
        return output

    def _call_whole(self, batch: Tensor, timestep: Tensor, unet_kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the prediction, and what the last layer of the decoder was given by the one before it."""
        seen: list[Tensor] = []
        handle = _layers(self._unet.up_blocks[-1])[-2].register_forward_hook(
            lambda _layer, _args, output: seen.append(output if isinstance(output, Tensor) else output[0])
        )
        try:
            output: Tensor = self._unet(batch, timestep, **unet_kwargs, return_dict=False)[0]
        finally:
            handle.remove()
        return output, seen[0]

    def _call_outermost(self, batch: Tensor, timestep: Tensor, unet_kwargs: Mapping[str, Any], kept: _Kept) -> Tensor:
        """Return the prediction by what is kept, maybe with one row of guidance more, before the row with text."""
        hidden, *residuals = (part[-len(batch) :].to(batch.device) for part in (kept.hidden, *kept.residuals))
        controls: dict[str, Any] = {}
        if residuals:  # that of the middle block is in `hidden`
            controls = {
                "down_block_additional_residuals": residuals,
                "mid_block_additional_residual": batch.new_zeros(()),
            }
        self._recall.hidden = hidden
        output: Tensor = self._outermost(batch, timestep, **{**unet_kwargs, **controls}, return_dict=False)[0]
        self._recall.hidden = None
        return output


def outermost_layers(unet: UNet, between: nn.Module) -> Any:
    """Return a UNet of the first and the last layer of `unet`, with `between` in place of all layers between them.

    The layers are those of `unet` itself, with all their hooks.
    """
    block = unet.up_blocks[-1]
    kinds = [kind for kind in ("resnets", "attentions") if getattr(block, kind, None)]
    decoder = _with_parts(block, **{kind: getattr(block, kind)[-1:] for kind in kinds})
    plain = getattr(unet, "_orig_mod", unet)  # without `torch.compile`
    blocks = {"down_blocks": nn.ModuleList(), "up_blocks": nn.ModuleList([decoder])}
    return _with_parts(plain, **blocks, mid_block=between)


def _layers(block: Any) -> nn.ModuleList:
    """Return the modules of a block that end its layers."""
    layers: nn.ModuleList = getattr(block, "attentions", None) or block.resnets
    return layers


class _Recall(nn.Module):
    """Returns what is kept of the layers that it stands for."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: Tensor | None = None

    def forward(self, _hidden: Tensor, _time: Tensor) -> Tensor:
        assert self.hidden is not None
        return self.hidden


def _with_parts(module: Any, **parts: nn.Module | None) -> Any:
    """Return a copy of a module that shares everything with it except these parts."""
    copied = copy.copy(module)
    copied.__dict__["_modules"] = {**module._modules, **parts}
    copied.__dict__.pop("forward", None)  # bound to the whole module
    return copied
