import pytest
import torch
from einops import rearrange, repeat

from animdiff_cli.errors import UsageError
from animdiff_cli.motion import MotionModule, plug, plugged, unplug
from animdiff_cli.motion.attention import attend_in_chunks
from tests.motion.reference import OfficialUNet


def run(unet, motion, latents, text, timestep=500):
    """Run the plugged UNet on latents [b, 4, f, h, w]."""
    frames = latents.shape[2]
    with torch.no_grad(), motion.frames(frames):
        flat = rearrange(latents, "b c f h w -> (b f) c h w")
        out = unet(flat, timestep, encoder_hidden_states=repeat(text, "b l d -> (b f) l d", f=frames)).sample
    return rearrange(out, "(b f) c h w -> b c f h w", f=frames)


def clip(frames, batch=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(frames)
    latents = torch.randn(batch, 4, frames, 8, 8, generator=generator, dtype=dtype)
    drift = torch.linspace(0.5, 1.5, frames, dtype=dtype)[:, None, None]  # frames that differ in contrast
    text = torch.randn(batch, 7, 24, generator=generator, dtype=dtype)
    return latents * drift, text


@pytest.mark.parametrize("frames", [1, 2, 16, 24])
@pytest.mark.parametrize(
    ("version", "layout"), [("v1", "sd15"), ("v2", "sd15"), ("v3", "sd15"), ("sdxl", "sdxl"), ("hotshot", "sdxl")]
)
def test_plugged_unet_computes_what_the_official_network_computes(make_unet, make_motion, version, layout, frames):
    unet = make_unet(layout)
    motion = make_motion(unet, version)
    latents, text = clip(frames)
    with torch.no_grad():
        expected = OfficialUNet(unet, motion.state_dict(), version)(latents, 500, text)
    plug(unet, motion)
    assert (run(unet, motion, latents, text) - expected).abs().max() < 1e-10


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_thirty_two_frames_match_the_official_network(make_unet, make_motion, version):
    unet = make_unet(layers=2)
    motion = make_motion(unet, version)
    latents, text = clip(32, batch=1)
    with torch.no_grad():
        expected = OfficialUNet(unet, motion.state_dict(), version)(latents, 500, text)
    plug(unet, motion)
    assert (run(unet, motion, latents, text) - expected).abs().max() < 1e-10


def test_channels_last_changes_nothing(make_unet, make_motion):
    unet = make_unet()
    motion = make_motion(unet, "v1")
    latents, text = clip(8)
    plug(unet, motion)
    plain = run(unet, motion, latents, text)
    unet.to(memory_format=torch.channels_last)
    assert (run(unet, motion, latents, text) - plain).abs().max() < 1e-12


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_unplugging_leaves_the_image_model_bit_identical(make_unet, make_motion, version):
    unet = make_unet()
    latents, text = clip(4)
    flat, text = rearrange(latents, "b c f h w -> (b f) c h w"), repeat(text, "b l d -> (b f) l d", f=4)
    keys, names = list(unet.state_dict()), [name for name, _ in unet.named_modules()]
    with torch.no_grad():
        before = unet(flat, 500, encoder_hidden_states=text).sample
    plug(unet, motion := make_motion(unet, version))
    assert list(unet.state_dict()) == keys
    assert [name for name, _ in unet.named_modules()] == names
    assert unplug(unet) is motion
    assert plugged(unet) is None
    with torch.no_grad():
        assert torch.equal(unet(flat, 500, encoder_hidden_states=text).sample, before)


def test_an_untrained_module_is_an_exact_identity(make_unet):
    unet = make_unet()
    latents, text = clip(4)
    flat = rearrange(latents, "b c f h w -> (b f) c h w")
    with torch.no_grad():
        still = unet(flat, 500, encoder_hidden_states=repeat(text, "b l d -> (b f) l d", f=4)).sample
    motion = MotionModule.from_unet(unet, "v2")
    plug(unet, motion)
    moved = run(unet, motion, latents, text)
    assert torch.equal(rearrange(moved, "b c f h w -> (b f) c h w"), still)


def test_clips_of_one_batch_do_not_see_each_other(make_unet, make_motion):
    unet = make_unet()
    motion = make_motion(unet, "v1")
    latents, text = clip(8)
    plug(unet, motion)
    together = run(unet, motion, latents, text)
    alone = run(unet, motion, latents[1:], text[1:])
    assert (together[1:] - alone).abs().max() < 1e-10


def test_frames_of_a_clip_do_see_each_other(make_unet, make_motion):
    unet = make_unet()
    motion = make_motion(unet)
    latents, text = clip(8)
    plug(unet, motion)
    before = run(unet, motion, latents, text)
    latents[:, :, 7] += 1
    assert (run(unet, motion, latents, text) - before)[:, :, 0].abs().max() > 1e-6


@pytest.mark.parametrize(("version", "limit"), [("v1", 24), ("v3", 32)])
def test_too_many_frames_name_the_limit_and_the_way_out(make_unet, make_motion, version, limit):
    motion = make_motion(make_unet(), version)
    with pytest.raises(UsageError, match=f"1 to {limit}") as caught, motion.frames(limit + 1):
        pass
    assert f"--frames {limit}" in caught.value.hint


def test_running_a_plugged_unet_without_saying_the_frames_is_a_bug(make_unet, make_motion):
    unet = make_unet()
    plug(unet, make_motion(unet))
    with pytest.raises(RuntimeError, match=r"with motion\.frames"):
        unet(torch.zeros(2, 4, 8, 8, dtype=torch.float64), 1, encoder_hidden_states=torch.zeros(2, 7, 24).double())


def test_a_module_of_another_base_is_refused_before_anything_is_attached(make_unet, make_motion):
    unet = make_unet("sd15")
    stranger = make_motion(make_unet("sdxl"), "sdxl")
    with pytest.raises(UsageError, match="does not fit"):
        plug(unet, stranger)
    assert plugged(unet) is None
    assert not any(module._forward_hooks for module in unet.modules())


def test_plugging_twice_is_refused(make_unet, make_motion):
    unet = make_unet()
    plug(unet, make_motion(unet))
    with pytest.raises(RuntimeError, match="unplug"):
        plug(unet, make_motion(unet))


def test_gradients_reach_motion_weights_through_image_checkpointing(make_unet, make_motion):
    unet = make_unet()
    motion = make_motion(unet)
    unet.requires_grad_(False).train()
    unet.enable_gradient_checkpointing()
    plug(unet, motion)
    latents, text = clip(4)
    with motion.frames(4):
        flat = rearrange(latents, "b c f h w -> (b f) c h w")
        unet(flat, 5, encoder_hidden_states=repeat(text, "b l d -> (b f) l d", f=4)).sample.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in motion.parameters())


@pytest.mark.parametrize("most_heads", [1, 3, 7, 8, 100])
def test_attention_in_chunks_equals_attention_at_once(most_heads):
    query, key, value = torch.randn(3, 2, 8, 5, 4, dtype=torch.float64)
    at_once = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    assert (attend_in_chunks(query, key, value, most_heads) - at_once).abs().max() < 1e-14
