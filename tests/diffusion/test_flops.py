"""Counted operations, compared with torch's counter on meta tensors: no weights, true sizes."""

import json
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from animdiff_cli.core.windows import Windows
from animdiff_cli.diffusion.conditions import UNetCall
from animdiff_cli.diffusion.conditions.control import features_as_pictures
from animdiff_cli.diffusion.cross_attention import (
    PictureKeys,
    ShownPictures,
    by_head,
    cached_text,
    cross_attentions,
    with_pictures,
    with_regions,
)
from animdiff_cli.diffusion.deep_cache import DeepCache
from animdiff_cli.diffusion.flops import UNetCost, decoding_flops
from animdiff_cli.diffusion.frame_texts import Mix
from animdiff_cli.diffusion.regions import ShownRegions
from animdiff_cli.diffusion.shared_cfg import shared_cfg
from animdiff_cli.motion import MotionModule, MotionSpec, plug
from animdiff_cli.paths import pocket_dir
from animdiff_cli.weights.model_configs import shipped_config


def config_of(base, part):
    return (
        json.loads((pocket_dir() / part / "config.json").read_text())
        if base == "pocket"
        else shipped_config(base, part)
    )


@torch.no_grad()
def count_call(config, version, frames, height, width, rows):
    """Count the second call of a clip: the text is projected in the first."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config).eval()
        motion = plug(unet, MotionModule.from_unet(unet, version).to("meta")) if version else None
        text, latents = (
            torch.randn(rows, 77, config["cross_attention_dim"]),
            torch.randn(rows * frames, 4, height, width),
        )
        added = {"text_embeds": torch.randn(rows * frames, 1280), "time_ids": torch.randn(rows * frames, 6)}
        halves = shared_cfg(unet) if rows == 2 else nullcontext()
        with motion.frames(frames) if motion else nullcontext(), cached_text(unet), halves:
            for counter in (nullcontext(), FlopCounterMode(display=False)):
                with counter:
                    unet(
                        latents,
                        torch.zeros(()),
                        text,
                        added_cond_kwargs=added if "addition_time_embed_dim" in config else None,
                    )
    return counter.get_total_flops(), motion.spec if motion else None


@pytest.mark.parametrize(
    ("base", "version", "frames", "height", "width", "rows"),
    [
        ("pocket", "v3", 16, 16, 16, 2),
        ("pocket", None, 3, 10, 13, 1),
        ("sd15", "v2", 16, 64, 64, 2),
        ("pocket", "v1", 24, 12, 18, 1),
        ("sdxl", "sdxl", 16, 128, 128, 2),
    ],
)
def test_a_unet_call_counts_what_torch_counts(base, version, frames, height, width, rows):
    config = config_of(base, "unet")
    if base == "sdxl":  # fewer blocks in a transformer, to build it faster
        config = config | {"transformer_layers_per_block": [1, 1, 2]}
    counted, spec = count_call(config, version, frames, height, width, rows)
    assert UNetCost(config, spec, height, width, rows).call(frames) == counted


@pytest.mark.parametrize(("base", "version", "rows"), [("pocket", "v3", 2), ("sd15", "v2", 1), ("sdxl", "sdxl", 1)])
@torch.no_grad()
def test_a_call_that_reuses_deep_blocks_counts_what_torch_counts(base, version, rows):
    config = config_of(base, "unet")
    if base == "sdxl":
        config = config | {"transformer_layers_per_block": [1, 1, 2]}
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config).eval()
        motion = plug(unet, MotionModule.from_unet(unet, version).to("meta"))
        text, latents = torch.randn(rows, 77, config["cross_attention_dim"]), torch.randn(1, 4, 3, 16, 24)
        added = {"text_embeds": torch.randn(rows * 3, 1280), "time_ids": torch.randn(rows * 3, 6)}
        unet_kwargs = {
            "encoder_hidden_states": text,
            "added_cond_kwargs": added if "addition_time_embed_dim" in config else None,
        }
        cache, halves = DeepCache(unet, 2, torch.device("meta")), shared_cfg(unet) if rows == 2 else nullcontext()
        with motion.frames(3), cached_text(unet), halves:
            for step, counter in enumerate((nullcontext(), FlopCounterMode(display=False))):
                is_deep = cache.is_deep(range(3), step, rows)
                call = UNetCall(latents, range(3), torch.zeros(()), step, rows, is_deep=is_deep)
                with counter:
                    cache(call.batch(), call, unet_kwargs)
    counted = UNetCost(config, motion.spec, 16, 24, rows).call_in_windows(3, [3], is_deep=False)
    assert counted == counter.get_total_flops()


@pytest.mark.parametrize(("base", "size"), [("pocket", (16, 16)), ("sd15", (64, 48)), ("sdxl", (128, 128))])
def test_decoding_counts_what_torch_counts(base, size):
    config = config_of(base, "vae")
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        vae = AutoencoderKL.from_config(config).eval()
        vae.decode(torch.randn(1, 4, *size))
    assert decoding_flops(config, *size) == counter.get_total_flops()


@torch.no_grad()
def test_windows_inside_the_unet_count_what_torch_counts():
    config, windows = config_of("pocket", "unet"), Windows(20, 8, 2)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config).eval()
        motion = plug(unet, MotionModule.from_unet(unet, "v3").to("meta"))
        text, latents = torch.randn(1, 77, config["cross_attention_dim"]), torch.randn(20, 4, 16, 16)
        with motion.frames(20, windows.at(0, 1)), cached_text(unet):
            unet(latents, torch.zeros(()), text)
            with FlopCounterMode(display=False) as counter:
                unet(latents, torch.zeros(()), text)
    cost = UNetCost(config, motion.spec, 16, 16)
    assert cost.call_in_windows(20, [8, 8, 8]) == counter.get_total_flops()


@pytest.mark.parametrize(("base", "sparse"), [("sd15", False), ("sd15", True), ("sdxl", False), ("pocket", True)])
@torch.no_grad()
def test_controls_are_counted_as_torch_counts_them(base, sparse):
    frames, height, width, rows = 4, 16, 24, 2
    with torch.device("meta"):
        network = ControlNetModel.from_unet(
            UNet2DConditionModel.from_config(config_of(base, "unet")), load_weights_from_unet=False
        )
        spec = replace(MotionSpec.for_unet(network.config), num_attentions=1) if sparse else None
        motion = plug(network, MotionModule(spec).to("meta")) if spec else None
        text = torch.randn(rows, 77, network.config.cross_attention_dim)
        latents = torch.randn(rows * frames, 4, height, width)
        features = torch.randn(rows * frames, network.config.block_out_channels[0], height, width)
        added = {"text_embeds": torch.randn(rows * frames, 1280), "time_ids": torch.randn(rows * frames, 6)}
        halves = shared_cfg(network)
        with (
            motion.frames(frames) if motion else nullcontext(),
            cached_text(network),
            halves,
            features_as_pictures(network),
        ):
            for counter in (nullcontext(), FlopCounterMode(display=False)):
                with counter:
                    network(
                        latents, torch.zeros(()), text, features, added_cond_kwargs=added if base == "sdxl" else None
                    )
    assert UNetCost(network.config, spec, height, width, rows).call(frames) == counter.get_total_flops()


@torch.no_grad()
def test_pictures_and_regions_are_counted_as_torch_counts_them():
    config, frames, rows, tokens = config_of("pocket", "unet"), 4, 2, 5
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config).eval()
        text, latents = torch.randn(rows, 77, config["cross_attention_dim"]), torch.randn(rows * frames, 4, 16, 16)
        layers = cross_attentions(unet)
        keys = [by_head(layer, torch.randn(2, tokens, layer.inner_dim)) for layer in layers]
        pictures = ShownPictures(Mix(torch.zeros(2, rows, dtype=torch.long), torch.ones(2, rows, 1)))
        shown = ShownRegions(torch.randn(3, 77, config["cross_attention_dim"]), [torch.ones(1, 16, 16)] * 3)
        shown.show(range(frames), [((0, 1.0),) * 3] * frames)
        both = with_pictures(unet, [PictureKeys(key, key, pictures) for key in keys]), with_regions(unet, shown)
        with both[0], both[1], cached_text(unet), shared_cfg(unet):
            for counter in (nullcontext(), FlopCounterMode(display=False)):
                with counter:
                    unet(latents, torch.zeros(()), text)
    cost = UNetCost(config, None, 16, 16, rows, other_tokens=tokens + 3 * 77 / rows)
    assert cost.call(frames) == counter.get_total_flops()
