"""CUDA graphs replay the same steps as launching kernels one by one."""

from dataclasses import replace

import pytest
import torch

from animdiff_cli.errors import DeviceError
from animdiff_cli.training.cuda_graphs import CudaGraphs, check_cuda_graphs
from animdiff_cli.training.data.batches import Batch


def test_cuda_graphs_are_refused_without_cuda_and_in_float16():
    with pytest.raises(DeviceError, match="needs CUDA"):
        check_cuda_graphs(torch.device("cpu"), torch.bfloat16)
    with pytest.raises(DeviceError, match="float16"):
        check_cuda_graphs(torch.device("cuda"), torch.float16)
    check_cuda_graphs(torch.device("cuda"), torch.bfloat16)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("is_sdxl", [False, True])
def test_replayed_gradients_equal_those_of_the_backward_pass(is_sdxl):
    used, unused = (torch.nn.Parameter(torch.randn(4, 4, device="cuda")) for _ in range(2))

    def backward(batch, scale):
        if not batch.mask_spatial:
            (unused.sum() * scale).backward()
        loss = (batch.latents @ used).square().mean() + batch.timesteps.float().mean()
        if is_sdxl:
            loss = loss + (batch.pooled @ used).mean() * batch.sizes.mean()
        (loss * scale).backward()
        return loss.detach()

    graphs = CudaGraphs(backward, [used, unused])
    batches = [_batch(seed, mask_spatial=seed % 3 == 0, is_sdxl=is_sdxl) for seed in range(6)]
    for pair in (batches[:2], batches[2:4], batches[4:], [batches[1], batches[1]]):
        found = []
        for run in (backward, graphs):
            used.grad = unused.grad = None
            losses = [run(batch, 0.5) for batch in pair]  # the second adds to what the first left
            found.append([*losses, used.grad.clone(), None if unused.grad is None else unused.grad.clone()])
        for plain, replayed in zip(*found, strict=True):
            assert (plain is None and replayed is None) or torch.allclose(plain, replayed)


def _batch(seed, *, mask_spatial, is_sdxl):
    generator = torch.Generator("cuda").manual_seed(seed)
    numbers = torch.randn(2, 3, 4, 4, 4, device="cuda", generator=generator)
    batch = Batch(numbers, numbers, numbers[0, 0], torch.tensor([seed, 7], device="cuda"), None, mask_spatial)
    sdxl = {"pooled": numbers[:, 0, 0, 0], "sizes": numbers[:, 0, 0, 1]} if is_sdxl else {}
    return replace(batch, frame=batch.timesteps, **sdxl)
