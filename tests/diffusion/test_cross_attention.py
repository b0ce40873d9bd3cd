import pytest
import torch
from einops import repeat
from peft import LoraConfig

from animdiff_cli.diffusion.cross_attention import SharedTextProcessor, share_text, unshare_text
from animdiff_cli.motion import plug


def inputs(frames=4, batch=2):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch * frames, 4, 8, 8, generator=generator, dtype=torch.float64)
    return images, torch.randn(batch, 7, 24, generator=generator, dtype=torch.float64)


def plain(unet, images, text):
    repeated = repeat(text, "b l d -> (b f) l d", f=len(images) // len(text))
    return unet(images, 500, encoder_hidden_states=repeated).sample


@pytest.mark.parametrize("layout", ["sd15", "sdxl"])
def test_one_text_for_all_frames_equals_repeating_it(make_unet, layout):
    unet = make_unet(layout)
    images, text = inputs()
    with torch.inference_mode():
        expected = plain(unet, images, text)
        assert share_text(unet)
        first = unet(images, 500, encoder_hidden_states=text).sample
        second = unet(images, 500, encoder_hidden_states=text).sample
        repeated = plain(unet, images, text)
    assert (first - expected).abs().max() < 1e-12
    assert torch.equal(first, second)
    assert (repeated - expected).abs().max() < 1e-12


def test_it_equals_the_plain_path_with_motion_plugged_in(make_unet, make_motion):
    unet = make_unet()
    plug(unet, motion := make_motion(unet))
    images, text = inputs()
    with torch.no_grad(), motion.frames(4):
        expected = plain(unet, images, text)
        share_text(unet)
        assert (unet(images, 500, encoder_hidden_states=text).sample - expected).abs().max() < 1e-12


def test_text_is_projected_once_per_prompt(make_unet):
    unet = make_unet()
    images, text = inputs()
    projected = []
    unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_k.register_forward_hook(lambda *_: projected.append(1))
    share_text(unet)
    with torch.no_grad():
        for _ in range(3):
            unet(images, 500, encoder_hidden_states=text)
        unet(images, 500, encoder_hidden_states=text.clone())
    assert len(projected) == 2


@pytest.mark.parametrize("change", ["new prompt", "same tensor written over", "weight in place", "weight replaced"])
def test_a_change_is_noticed(make_unet, change):
    unet = make_unet()
    images, text = inputs()
    to_v = unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_v
    share_text(unet)
    with torch.no_grad():
        before = unet(images, 500, encoder_hidden_states=text).sample
        if change == "new prompt":
            text = text * 2
        elif change == "same tensor written over":
            text.mul_(2)
        elif change == "weight in place":
            to_v.weight.mul_(3)
        else:
            to_v.weight = torch.nn.Parameter(to_v.weight * 3)
        after = unet(images, 500, encoder_hidden_states=text).sample
    unshare_text(unet)
    with torch.no_grad():
        expected = plain(unet, images, text)
    assert (after - before).abs().max() > 1e-4
    assert (after - expected).abs().max() < 1e-12


def test_a_lora_and_its_scale_are_noticed(make_unet):
    unet = make_unet()
    unet.add_adapter(LoraConfig(r=4, target_modules=["to_k", "to_v"], init_lora_weights=False), "look")
    images, text = inputs()
    share_text(unet)
    with torch.no_grad():
        seen = {}
        for scale in (1.0, 0.3):
            unet.set_adapters(["look"], [scale])
            seen[scale] = unet(images, 500, encoder_hidden_states=text).sample
        unet.disable_adapters()
        seen["off"] = unet(images, 500, encoder_hidden_states=text).sample
    unshare_text(unet)
    with torch.no_grad():
        assert (plain(unet, images, text) - seen["off"]).abs().max() < 1e-12
        unet.enable_adapters()
        assert (plain(unet, images, text) - seen[0.3]).abs().max() < 1e-12
    assert (seen[1.0] - seen[0.3]).abs().max() > 1e-4


def test_stock_processors_come_back(make_unet):
    unet = make_unet()
    before = {name: type(processor) for name, processor in unet.attn_processors.items()}
    share_text(unet)
    assert any(isinstance(processor, SharedTextProcessor) for processor in unet.attn_processors.values())
    unshare_text(unet)
    assert {name: type(processor) for name, processor in unet.attn_processors.items()} == before


def test_a_text_mask_is_honoured(make_unet):
    unet = make_unet()
    images, text = inputs(frames=1)
    mask = torch.tensor([[1.0] * 4 + [0.0] * 3] * 2, dtype=torch.float64)
    with torch.no_grad():
        expected = unet(images, 500, encoder_hidden_states=text, encoder_attention_mask=mask).sample
        share_text(unet)
        ours = unet(images, 500, encoder_hidden_states=text, encoder_attention_mask=mask).sample
    assert torch.equal(ours, expected)


def test_foreign_processors_are_left_alone(make_unet):
    unet = make_unet()

    class Foreign(torch.nn.Module):
        def __call__(self, attn, hidden_states, encoder_hidden_states=None, **kwargs):
            return hidden_states

    attention = unet.mid_block.attentions[0].transformer_blocks[0].attn2
    attention.processor = Foreign()
    assert not share_text(unet)
    assert isinstance(attention.processor, Foreign)
    assert not any(isinstance(processor, SharedTextProcessor) for processor in unet.attn_processors.values())
