from itertools import product

import pytest
import torch
from diffusers import UNet2DConditionModel

from animdiff_cli.errors import IntegrityError
from animdiff_cli.motion import MotionModule, MotionSpec, plug
from animdiff_cli.training.export import export_lora, lora_state_dict
from animdiff_cli.training.lora_layers import LoraLayers, image_projections, motion_projections
from animdiff_cli.weights.identify import identify

#: block, temporal transformers in it, and their width, as in v2_lora_PanLeft.ckpt and its seven siblings
PUBLISHED_SITES = (
    *((f"down_blocks.{block}", 2, width) for block, width in enumerate((320, 640, 1280, 1280))),
    ("mid_block", 1, 1280),
    *((f"up_blocks.{block}", 3, width) for block, width in enumerate((1280, 1280, 640, 320))),
)
SD15 = {"block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2}


def fill(lora, seed=5):
    generator = torch.Generator().manual_seed(seed)
    for parameter in lora.parameters().values():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return lora


def run(unet, motion=None, frames=3):
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(frames, 4, 8, 8, generator=generator).to(unet.dtype)
    text = torch.randn(frames, 5, unet.config.cross_attention_dim, generator=generator).to(unet.dtype)
    with torch.no_grad():
        if motion is None:
            return unet(latents, 500, encoder_hidden_states=text).sample
        with motion.frames(frames):
            return unet(latents, 500, encoder_hidden_states=text).sample


def test_untrained_lora_layers_change_no_output_and_no_name(make_unet):
    unet = make_unet()
    names, before = list(unet.state_dict()), run(unet)
    lora = LoraLayers.new(image_projections(unet), 4)
    assert torch.equal(run(unet), before)
    assert list(unet.state_dict()) == names
    assert len(lora.layers) == 4 * 2 * sum(".attn1.to_q.weight" in name for name in names)


def test_lora_layers_equal_merged_weights(make_unet, make_motion):
    unet = make_unet()
    motion = make_motion(unet)
    plug(unet, motion)
    layers = {**image_projections(unet), **motion_projections(motion)}
    lora = fill(LoraLayers.new(layers, 4, scale=0.5))
    branched = run(unet, motion)
    lora.remove()
    plain = run(unet, motion)
    for name, layer in lora.layers.items():
        layers[name].weight.data += 0.5 * (layer.up @ layer.down).double()
    torch.testing.assert_close(run(unet, motion), branched, rtol=1e-4, atol=1e-5)
    assert (plain - branched).abs().max() > 0.01


def test_lora_layers_switch_off_and_stop_gradients(make_unet):
    unet = make_unet().requires_grad_(False)
    before = run(unet)
    lora = fill(LoraLayers.new(image_projections(unet), 2))
    with lora.switched(enabled=False):
        assert torch.equal(run(unet), before)
    latents, text = torch.randn(1, 4, 8, 8).double(), torch.randn(1, 5, 24).double()
    with lora.switched(trained=False):
        assert not unet(latents, 5, encoder_hidden_states=text).sample.requires_grad
    unet(latents, 5, encoder_hidden_states=text).sample.sum().backward()
    assert all(parameter.grad is not None for parameter in lora.parameters().values())


@pytest.mark.parametrize("layout", ["original", "diffusers", "peft"])
def test_an_exported_motion_lora_is_identified_and_loads_again(make_unet, make_motion, tmp_path, layout):
    unet = make_unet()
    motion = make_motion(unet, "v2")
    lora = fill(LoraLayers.new(motion_projections(motion), 4, scale=0.25))
    path = tmp_path / "lora.safetensors"
    export_lora(lora, path, kind="motion-lora", version="v2", layout=layout, metadata={"animdiff.rank": "4"})
    info = identify(path)
    assert (info.kind, info.version, info.rank, info.format) == ("motion-lora", "v2", 4, layout)
    loaded = LoraLayers.load(motion_projections(motion), path)
    for name, layer in lora.layers.items():
        again = loaded.layers[name]
        torch.testing.assert_close(again.up @ again.down, 0.25 * layer.up @ layer.down, rtol=5e-3, atol=1e-3)
    assert not any(parameter.requires_grad for parameter in loaded.parameters().values())


def test_a_motion_lora_for_sd15_has_exactly_the_keys_and_shapes_of_the_published_ones():
    with torch.device("meta"):
        motion = MotionModule(MotionSpec.for_unet(SD15, "v2"))
    tensors = state_dict_on(motion_projections(motion), 64)
    published = {}
    for block, modules, width in PUBLISHED_SITES:
        for module, attention, projection in product(range(modules), range(2), ("to_q", "to_k", "to_v", "to_out")):
            inside = f"motion_modules.{module}.temporal_transformer.transformer_blocks.0.attention_blocks.{attention}"
            key = f"{block}.{inside}.processor.{projection}_lora"
            published |= {f"{key}.down.weight": (64, width), f"{key}.up.weight": (width, 64)}
    assert {key: tuple(tensor.shape) for key, tensor in tensors.items()} == published
    assert len(published) == 336 and sum(down * up for down, up in published.values()) == 19_333_120


def test_a_domain_adapter_for_sd15_has_the_keys_and_shapes_of_the_published_one():
    config = {"cross_attention_dim": 768, "attention_head_dim": 8}
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD15, **config)
    tensors = state_dict_on(image_projections(unet), 128)
    key = "up_blocks.3.attentions.1.transformer_blocks.0.attn2.processor.to_v_lora.down.weight"
    assert len(tensors) == 256 and sum(t.numel() for t in tensors.values()) == 25_509_888
    assert tensors[key].shape == (128, 768)


def state_dict_on(layers, rank):
    """Return the state dict of LoRA layers on meta layers."""
    stand_ins = {
        name: torch.nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        for name, layer in layers.items()
    }
    lora = LoraLayers.new(stand_ins, rank)
    for layer in lora.layers.values():
        layer.to_empty(device="cpu")
    return lora_state_dict(lora, "original")


def test_a_lora_of_another_model_is_refused(make_unet, make_motion, tmp_path):
    unet = make_unet()
    motion = make_motion(unet, "v2")
    path = tmp_path / "v2.safetensors"
    export_lora(LoraLayers.new(motion_projections(motion), 2), path, kind="motion-lora", version="v2")
    v3 = make_motion(make_unet(), "v3")
    with pytest.raises(IntegrityError, match="mid_block"):
        LoraLayers.load(motion_projections(v3), path)
    wider = make_motion(make_unet("sdxl"), "v3")
    with pytest.raises(IntegrityError, match=r"wide|does not have"):
        LoraLayers.load(motion_projections(wider), path)
