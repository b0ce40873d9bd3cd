"""Faster arithmetic on CPUs: attention with small heads, convolutions, norms, linear layers, GEGLU without wide copies.

Attention, convolutions of 3 x 3 and group norms are compiled C++ (`native_layers`) where that can be had: activations
are then channels-last. Elsewhere attention is products of torch, and the others are torch's.

The rules below are measured on an AMD Zen 4 (AVX-512 with bf16, and as if it had AVX2 only) at the shapes of the pocket
model and of SD1.5; docs/concepts/speed.md has the times. Everything else runs as torch does it, and all of it where
gradients are recorded.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from animdiff_cli.diffusion.kernels import Replacement, native, native_layers
from animdiff_cli.diffusion.kernels.attention_products import LANES, attention_in_parts, is_plain, padded_heads
from animdiff_cli.diffusion.kernels.norm_forwards import NormForwards
from animdiff_cli.motion import module

DTYPES = (torch.float32, torch.bfloat16)


class Rule(NamedTuple):
    """Heads whose attention is faster in C++ than in torch: up to a size with few keys, and of some sizes with many."""

    few_keys: int
    few_head: int
    many_heads: Container[int]


RULES = {
    ("AVX512", torch.bfloat16): Rule(128, 80, {*range(1, 13), *range(17, 81)}),  # torch is good at 16 numbers
    ("AVX512", torch.float32): Rule(128, 80, {*range(1, 13), *range(17, 81)}),
    ("AVX2", torch.bfloat16): Rule(128, 80, range(1, 13)),
    ("AVX2", torch.float32): Rule(32, 40, range(1, 13)),
}
MANY_KEYS = 4096  # with more, a head's keys leave the cache
#: without C++ and with AVX-512, products are faster than torch's kernel for few keys with heads up to a size
PRODUCTS_KEYS, PRODUCTS_HEAD = 128, {torch.bfloat16: 32, torch.float32: 16}
MIN_INPUT = 4096  # numbers; a call of oneDNN or C++ costs more than a smaller product


class CpuKernels(TorchFunctionMode):
    """Compute attention, convolutions and linear layers of CPU tensors by the faster way inside this context.

    Prepared weights are forgotten at its end: what a program then changes by `weight.data` or numpy counts no version.
    """

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # torch
        native_layers.forget_weights()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace the functions of `_FASTER` where they return a result; all others run unchanged."""
        options = kwargs or {}
        if (faster := _FASTER.get(func)) and not torch.is_grad_enabled() and not torch.compiler.is_compiling():
            result = faster(*args, **options)
            if result is not None:
                return result
        return func(*args, **options)


def replacements(network: nn.Module) -> Iterator[Replacement]:
    """Yield norms, ResNets and GEGLUs of a UNet, motion module, ControlNet or autoencoder with faster forwards."""
    if native.library():
        yield from NORMS.replacements(network)
    for layer in network.modules():
        if isinstance(layer, (GEGLU, module.GEGLU)) and type(layer.proj) is nn.Linear and layer.proj.bias is not None:
            yield layer, _geglu


def attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any) -> Tensor | None:
    """Compute `scaled_dot_product_attention`, or None where torch's kernel is to do it."""
    matching = key.shape == value.shape and query.dim() == key.dim() == 4
    matching = matching and query.shape[:2] == key.shape[:2] and query.shape[3] == key.shape[3]
    if args or not matching or not is_plain(options) or not _are_supported(query, key, value):
        return None
    width, num_keys, scale = query.shape[-1], key.shape[2], options.get("scale")
    instructions = native.instruction_set()
    if native.library():
        rule = RULES[instructions, query.dtype]
        few = num_keys <= rule.few_keys and width <= rule.few_head
        if few or (num_keys <= MANY_KEYS and width in rule.many_heads):
            return native_layers.attention(query, key, value, scale)
    if instructions != "AVX512":
        return None
    if num_keys <= PRODUCTS_KEYS and width <= PRODUCTS_HEAD[query.dtype]:
        return attention_in_parts(query, key, value, scale)
    if query.dtype == torch.bfloat16 and width < LANES:
        return padded_heads(query, key, value, scale)
    return None


def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor | None:
    """Compute `F.conv2d` with channels-last output; None where torch is to do it in the layout of the input."""
    tensors = (input, weight) if bias is None else (input, weight, bias)
    if input.dim() != 4 or not _are_supported(*tensors) or not native.library():
        return None
    input = input.contiguous(memory_format=torch.channels_last)
    is_usual = stride in (1, (1, 1)) and dilation in (1, (1, 1)) and groups == 1 and input.shape[1] == weight.shape[1]
    if is_usual and weight.shape[2:] == (1, 1) and padding in (0, (0, 0)):
        rows = linear(input.permute(0, 2, 3, 1), weight.flatten(1), bias)
        if rows is not None:
            return rows.permute(0, 3, 1, 2)
    if is_usual and weight.shape[2:] == (3, 3) and padding in (1, (1, 1)) and input.numel() >= MIN_INPUT:
        computed = native_layers.convolution(input, weight, bias)
        if computed is not None:
            return computed
    return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    """Compute `F.linear` with the bias added inside oneDNN; None where torch is to do it."""
    tensors = (input, weight) if bias is None else (input, weight, bias)
    is_layer = weight.dim() == 2 and input.shape[-1:] == weight.shape[1:]
    is_layer = is_layer and (bias is None or bias.shape == weight.shape[:1])
    if input.numel() < MIN_INPUT or not is_layer or not _are_supported(*tensors) or not _has_onednn(input.dtype):
        return None
    return _linear(input, weight, bias)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None, activation: str = "none") -> Tensor:
    output: Tensor = torch.ops.mkldnn._linear_pointwise(input, weight, bias, activation, [], "none")
    return output


def _geglu(self: Any, hidden_states: Tensor) -> Tensor:
    """Project to value and gate apart: neither is copied out of a tensor twice as wide, and GELU is inside oneDNN."""
    supported = not _is_changed(self) and _are_supported(hidden_states, self.proj.weight)
    if not supported or not _has_onednn(hidden_states.dtype):
        plain: Tensor = type(self).forward(self, hidden_states)
        return plain
    (value, gate), (value_bias, gate_bias) = self.proj.weight.chunk(2), self.proj.bias.chunk(2)
    gates = _linear(hidden_states, gate, gate_bias, "gelu")
    return _linear(hidden_states, value, value_bias).mul_(gates)


def _is_changed(geglu: Any) -> bool:
    """Whether the projection does more than its weights say, or gradients or compiled code need its own forward."""
    own = geglu.proj.__dict__
    hooked = own["_forward_hooks"] or own["_forward_pre_hooks"] or "forward" in own
    return bool(hooked) or torch.is_grad_enabled() or torch.compiler.is_compiling()


def _are_supported(*tensors: Tensor) -> bool:
    """Whether all are plain CPU tensors of one supported dtype that autocast leaves as it is."""
    first = tensors[0]
    alike = all(x.device.type == "cpu" and x.dtype == first.dtype and x.numel() for x in tensors)
    return alike and first.dtype in DTYPES and not torch.is_autocast_enabled("cpu")


def _has_onednn(dtype: torch.dtype) -> bool:
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch
    if not available or not torch.backends.mkldnn.enabled:
        return False
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _group_norm(hidden: Tensor, *args: Any, **fused: Any) -> Tensor:
    normed = native_layers.group_norm(hidden, *args, **fused)
    assert normed is not None  # `NORMS` is installed with the library only
    return normed


NORMS = NormForwards(_group_norm, lambda hidden: _are_supported(hidden))
_FASTER: Mapping[Any, Callable[..., Tensor | None]] = {
    F.scaled_dot_product_attention: attention,
    F.conv2d: convolution,
    F.linear: linear,
}
