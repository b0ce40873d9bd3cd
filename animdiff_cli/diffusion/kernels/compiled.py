"""`torch.compile` for the blocks of a network, one at a time: the alternative to kernels written by hand.

Blocks repeat, so that few distinct ones are compiled, and what changes between clips (text, LoRAs whose scale varies,
context windows) stays outside of them. Shapes are fixed: another size is compiled anew. Compiled code is kept on disk.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from typing import Any

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from animdiff_cli import paths
from animdiff_cli.diffusion.kernels import Forward, Replacement, replace_forwards
from animdiff_cli.diffusion.kernels.trial import first_line
from animdiff_cli.diffusion.memory import is_out_of_memory
from animdiff_cli.errors import DeviceError
from animdiff_cli.motion.module import TemporalTransformer

BLOCKS = (ResnetBlock2D, FeedForward, TemporalTransformer)
MAX_VARIANTS = 64  # distinct shapes of one kind of block: SD1.5 has 12, with autoencoder and two sizes of a clip 40
BACKEND = "inductor"
CACHE = "TORCHINDUCTOR_CACHE_DIR"


@contextmanager
def compiled_blocks(*networks: nn.Module) -> Iterator[None]:
    """Compile the blocks of networks inside this context, each at its first call with new shapes.

    Such a call raises `DeviceError` if the block cannot be compiled.
    """
    if os.environ.get(CACHE) in (None, default_cache_dir()):  # torch writes its default there
        os.environ[CACHE] = str(paths.cache_dir() / "inductor")
    replacements = [pair for network in networks for pair in _replacements(network)]
    with torch._dynamo.config.patch(recompile_limit=MAX_VARIANTS), replace_forwards(replacements):
        yield


def _replacements(network: nn.Module) -> Iterator[Replacement]:
    for layer in network.modules():
        otherwise = getattr(layer.forward, "__func__", None)  # of the class, or a kernel's
        if type(layer) in BLOCKS and otherwise:
            yield layer, _forward(type(layer), otherwise)


def _forward(kind: type[nn.Module], otherwise: Forward) -> Forward:
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled() or _has_hooks_inside(self) or not _is_constant(kind, args):
            return otherwise(self, *args, **kwargs)
        try:
            return _compiled(kind, BACKEND)(self, *args, **kwargs)  # type: ignore[arg-type]  # classes are hashable
        except BackendCompilerFailed as error:
            if is_out_of_memory(error):
                raise
            why = first_line(error.inner_exception)
            raise DeviceError(f"`--compile on` failed: {why}", hint="leave `--compile on` out") from error

    return forward


def _has_hooks_inside(block: nn.Module) -> bool:
    """Compiled code runs without hooks that were added later, and torch does not notice."""
    inside = islice(block.modules(), 1, None)
    return any(layer._forward_hooks or layer._forward_pre_hooks for layer in inside)


def _is_constant(kind: type[nn.Module], args: tuple[Any, ...]) -> bool:
    """Whether arguments that are no tensors of fixed shape have their usual value: the scale and windows of motion."""
    return kind is not TemporalTransformer or tuple(args[2:]) in ((), (1.0,), (1.0, ()))


@lru_cache(len(BLOCKS) + 1)
def _compiled(kind: type[nn.Module], backend: str) -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(kind.forward, dynamic=False, backend=backend)
    return compiled
