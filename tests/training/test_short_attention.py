"""Short attention as products equals torch's attention; other attention is not replaced."""

import pytest
import torch
import torch.nn.functional as F

from animdiff_cli.training.short_attention import MAX_KEYS, ShortAttention

SHAPES = [((2, 6, 16, 8), (2, 6, 16, 8)), ((3, 4, 100, 8), (3, 4, 77, 8))]


def attended(tensors, **how):
    """Return attention and its gradients."""
    copies = [tensor.clone().requires_grad_() for tensor in tensors]
    output = F.scaled_dot_product_attention(*copies, **how)
    output.square().sum().backward()
    return output.detach(), *(copy.grad for copy in copies)


@pytest.mark.parametrize(("queries", "keys"), SHAPES)
@pytest.mark.parametrize("how", [{}, {"scale": 0.7}])
def test_products_equal_the_fused_kernel(queries, keys, how):
    tensors = [torch.randn(shape, dtype=torch.float64) for shape in (queries, keys, keys)]
    plain = attended(tensors, **how)
    with ShortAttention():
        products = attended(tensors, **how)
    for one, other in zip(plain, products, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)


def kernels_used(tensors, **how):
    with torch.profiler.profile() as seen, ShortAttention():
        F.scaled_dot_product_attention(*tensors, **how)
    return {event.key for event in seen.key_averages()}


def test_long_or_masked_attention_is_left_to_torch():
    short, long = ([torch.randn(1, 2, tokens, 8)] * 3 for tokens in (16, MAX_KEYS + 1))
    assert not any("scaled_dot_product" in name for name in kernels_used(short))
    assert any("scaled_dot_product" in name for name in kernels_used(long))
    assert any("scaled_dot_product" in name for name in kernels_used(short, is_causal=True))
