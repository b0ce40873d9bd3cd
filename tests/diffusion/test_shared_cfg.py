"""Both halves of guidance computed once until the first text: the same numbers for less work."""

import pytest
import torch
from einops import rearrange

from animdiff_cli.diffusion.cross_attention import share_text
from animdiff_cli.diffusion.shared_cfg import shared_cfg
from animdiff_cli.motion import plug


def inputs(frames=4, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(frames, 4, 8, 8, generator=generator, dtype=dtype)
    return torch.cat([latents, latents]), torch.randn(2, 7, 24, generator=generator, dtype=dtype)


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_it_changes_no_bit(make_unet, make_motion, version):
    unet = make_unet(dtype=torch.float32, layers=2)
    plug(unet, motion := make_motion(unet, version))
    share_text(unet)
    images, text = inputs()
    with torch.no_grad(), motion.frames(4):
        expected = unet(images, 500, encoder_hidden_states=text).sample
        with shared_cfg(unet):
            shared = unet(images, 500, encoder_hidden_states=text).sample
        after = unet(images, 500, encoder_hidden_states=text).sample
    assert torch.equal(shared, expected)
    assert torch.equal(after, expected)
    assert (expected[:4] - expected[4:]).abs().max() > 1e-4


def test_the_layers_before_the_text_see_one_half(make_unet):
    unet = make_unet(dtype=torch.float32)
    images, text = inputs()
    seen = []
    block = unet.down_blocks[0]
    layers = (unet.conv_in, block.resnets[0].conv1, block.attentions[0].transformer_blocks[0].attn1.to_q)
    repeated = rearrange(text[:, None].expand(-1, 4, -1, -1), "b f l d -> (b f) l d")
    with torch.no_grad(), shared_cfg(unet):
        for layer in layers:
            layer.register_forward_pre_hook(lambda layer, args: seen.append(len(args[0])))
        unet(images, 500, encoder_hidden_states=repeated)
    assert seen == [4, 4, 4]


def test_nothing_is_shared_where_the_first_block_reads_no_text(make_unet):
    unet = make_unet("sdxl", dtype=torch.float32)
    with shared_cfg(unet):
        assert not any(module._forward_hooks for module in unet.modules())
