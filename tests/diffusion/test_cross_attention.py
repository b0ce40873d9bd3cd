import pytest
import torch
from einops import repeat
from peft import LoraConfig

from animdiff_cli.diffusion.cross_attention import SharedTextProcessor, cached_text, share_text
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
    with torch.no_grad(), cached_text(unet):
        for _ in range(3):
            unet(images, 500, encoder_hidden_states=text)
        unet(images, 500, encoder_hidden_states=text.clone())
    assert len(projected) == 2


def in_place_by_data(unet, text):
    unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_v.weight.data.mul_(3)


def by_fused_optimizer(unet, text):
    weight = unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_v.weight
    weight.grad = torch.ones_like(weight)
    torch.optim.AdamW([weight], lr=0.1, fused=True).step()


def by_moving_average(unet, text):
    from diffusers.training_utils import EMAModel

    average = EMAModel([parameter * 3 for parameter in unet.parameters()])
    average.copy_to(unet.parameters())


def by_writing_over_the_text(unet, text):
    text.data.mul_(2)


CHANGES = [in_place_by_data, by_fused_optimizer, by_moving_average, by_writing_over_the_text]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_between_clips_is_never_missed(make_unet, change):
    unet = make_unet()
    images, text = inputs()
    with torch.no_grad(), cached_text(unet):
        before = unet(images, 500, encoder_hidden_states=text).sample
    change(unet, text)
    with torch.no_grad():
        with cached_text(unet):
            after = unet(images, 500, encoder_hidden_states=text).sample
        expected = plain(unet, images, text)
    assert (after - before).abs().max() > 1e-4
    assert (after - expected).abs().max() < 1e-12


@pytest.mark.parametrize("change", CHANGES)
def test_without_a_cache_a_change_is_never_missed(make_unet, change):
    unet = make_unet()
    images, text = inputs()
    share_text(unet)
    with torch.no_grad():
        unet(images, 500, encoder_hidden_states=text)
    change(unet, text)
    with torch.no_grad():
        after = unet(images, 500, encoder_hidden_states=text).sample
        assert (after - plain(unet, images, text)).abs().max() < 1e-12


def test_a_lora_and_its_scale_are_noticed(make_unet):
    unet = make_unet()
    unet.add_adapter(LoraConfig(r=4, target_modules=["to_k", "to_v"], init_lora_weights=False), "look")
    images, text = inputs()
    seen = []
    for scale in (1.0, 0.3):
        unet.set_adapters(["look"], [scale])
        with torch.no_grad():
            with cached_text(unet):
                seen.append(unet(images, 500, encoder_hidden_states=text).sample)
            assert (plain(unet, images, text) - seen[-1]).abs().max() < 1e-12
    assert (seen[0] - seen[1]).abs().max() > 1e-4


@pytest.mark.parametrize("shared_before", [False, True])
def test_earlier_processors_come_back(make_unet, shared_before):
    unet = make_unet()
    if shared_before:
        share_text(unet)
    before = dict(unet.attn_processors)
    with pytest.raises(RuntimeError, match="inside"), cached_text(unet):
        assert any(isinstance(processor, SharedTextProcessor) for processor in unet.attn_processors.values())
        raise RuntimeError("inside")
    assert unet.attn_processors == before
    if not shared_before:
        unet.set_default_attn_processor()


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
