import pytest
import torch

from animdiff_cli.motion import plug
from animdiff_cli.training.gradient_checkpointing import enable_gradient_checkpointing
from animdiff_cli.training.lora_layers import LoraLayers, motion_projections


def gradients(unet, motion, lora):
    """Run one backward pass; return the gradients and the bytes saved for it."""
    saved = {}

    def save(tensor):
        if isinstance(tensor, torch.nn.Parameter):
            return tensor
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(4, 4, 16, 16, generator=generator).to(unet.dtype)
    text = torch.randn(4, 5, 24, generator=generator).to(unet.dtype)
    with motion.frames(4):
        with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
            loss = unet(latents, 300, encoder_hidden_states=text).sample.square().mean()
        loss.backward()
    found = {name: parameter.grad for name, parameter in lora.parameters().items()}
    for parameter in lora.parameters().values():
        parameter.grad = None
    return found, sum(saved.values())


OLDER = [pytest.param(version, marks=pytest.mark.full) for version in ("v1", "v2")]


@pytest.mark.parametrize("version", [*OLDER, "v3"])
def test_gradient_checkpointing_gives_equal_gradients_with_far_less_memory(make_unet, make_motion, version):
    unet = make_unet().requires_grad_(False)
    motion = make_motion(unet, version).requires_grad_(False)
    plug(unet, motion)
    lora = LoraLayers.new(motion_projections(motion), 4)
    for layer in lora.layers.values():
        layer.up.data.normal_(generator=torch.Generator().manual_seed(1))
    plain, plain_bytes = gradients(unet, motion, lora)
    unet.enable_gradient_checkpointing()
    built_in, built_in_bytes = gradients(unet, motion, lora)
    enable_gradient_checkpointing(unet, motion)
    ours, our_bytes = gradients(unet, motion, lora)
    for name, gradient in plain.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(ours[name], gradient, rtol=1e-6, atol=1e-9)  # another attention kernel
        torch.testing.assert_close(built_in[name], gradient, rtol=1e-9, atol=1e-12)
    assert our_bytes < 0.4 * built_in_bytes < 0.4 * plain_bytes
