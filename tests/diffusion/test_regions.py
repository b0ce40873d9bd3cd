"""Each token reads the texts of its regions: compared with one cross-attention for each text, frame by frame."""

from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor2_0

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.curves import Curve
from animdiff_cli.diffusion import cross_attention
from animdiff_cli.diffusion.conditions import Region, RegionsCondition
from animdiff_cli.diffusion.cross_attention import cross_attentions
from animdiff_cli.diffusion.prompt_rows import encode_regions
from animdiff_cli.diffusion.regions import text_shares
from animdiff_cli.diffusion.text import encode_prompt
from animdiff_cli.motion import load_motion_module, plug, unplug
from tests.diffusion.exact import SETTINGS, is_close, ours

TEXTS = ("a boat at sea", "snow")


def left_half():
    mask = torch.zeros(1, 8, 8, dtype=torch.float64)
    mask[..., :4] = 1
    return mask


def moving_square():
    """Three masks with soft edges, which overlap the left half."""
    masks = torch.zeros(3, 8, 8, dtype=torch.float64)
    for frame in range(3):
        masks[frame, 2:7, frame : frame + 4] = 1
        masks[frame, 2, frame : frame + 4] = 0.3
    return masks


LEFT, SQUARE = (left_half(), (0, 0, 0)), (moving_square(), (0, 1, 2))


def regions(parts, *given, texts=TEXTS, **settings):
    """The condition of regions (masks, mask of each frame, weight)."""
    sources = [{"source": "mask.png", "prompt": text} for text in texts[: len(given)]]
    config = GenerateConfig(**SETTINGS | {"regions": sources} | settings)

    def encode(prompt):
        return encode_prompt(parts, prompt)

    return RegionsCondition([Region(*region) for region in given], encode_regions(encode, config, config.timeline))


@contextmanager
def plain_regions(parts, given, rows=2):
    """Compute the same by diffusers' processor, once for each text and image, and blend the results."""
    texts = [encode_prompt(parts, text).embeds for text in TEXTS]

    class Blended:
        def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
            stock, side = AttnProcessor2_0(), {64: 8, 16: 4, 4: 2, 1: 1}[hidden_states.shape[1]]
            images = []
            for number, image in enumerate(hidden_states):
                row, frame = divmod(number, len(hidden_states) // rows)
                main = stock(attn, image[None], encoder_hidden_states[number][None])
                if row < rows - 1:
                    images.append(main)
                    continue
                total, blend = torch.zeros(1, side * side, 1, dtype=torch.float64), 0
                for text, (masks, of_frame, *weight) in zip(texts, given, strict=False):
                    mask = masks[of_frame[frame]][None, None].double() * (weight or [1.0])[0]
                    share = F.interpolate(mask, (side, side), mode="area").view(1, -1, 1)
                    total, blend = total + share, blend + share * stock(attn, image[None], text)
                rest = (1 - total).clamp(min=0)
                images.append((blend + rest * main) / (total + rest))
            return torch.cat(images)

    layers = cross_attentions(parts.unet)
    before = [layer.processor for layer in layers]
    for layer in layers:
        layer.processor = Blended()
    try:
        yield
    finally:
        for layer, processor in zip(layers, before, strict=True):
            layer.processor = processor


@pytest.mark.parametrize("guidance", [7.5, 1.0])
@pytest.mark.parametrize("weight", [1.0, 0.4, 3.0])
def test_it_is_one_attention_for_each_text_blended_by_the_masks(exact_model, guidance, weight):
    given = (LEFT, (*SQUARE, weight))
    found = ours(exact_model, regions(exact_model, *given), guidance_scale=guidance)
    with plain_regions(exact_model, given, rows=2 if guidance > 1 else 1):
        expected = ours(exact_model, guidance_scale=guidance)
    assert is_close(found, expected)
    assert (found - ours(exact_model, guidance_scale=guidance)).abs().max() > 0.01


def test_sdxl_and_motion_too(exact_sdxl, toy_sdxl_motion_file):
    motion = load_motion_module(toy_sdxl_motion_file).double()
    plug(exact_sdxl.unet, motion)
    try:
        found = ours(exact_sdxl, regions(exact_sdxl, LEFT, SQUARE), beta_schedule="scaled_linear")
        with plain_regions(exact_sdxl, (LEFT, SQUARE)):
            expected = ours(exact_sdxl, beta_schedule="scaled_linear")
    finally:
        unplug(exact_sdxl.unet)
    assert is_close(found, expected)


def test_a_region_that_is_everything_is_the_prompt(exact_model):
    everywhere = (torch.ones(1, 8, 8, dtype=torch.float64), (0, 0, 0))
    assert is_close(ours(exact_model, regions(exact_model, everywhere)), ours(exact_model, prompt=TEXTS[0]))


def test_no_region_changes_no_bit_and_the_unet_is_as_before(exact_model):
    processors = dict(exact_model.unet.attn_processors)
    nowhere = (torch.ones(1, 8, 8), (None,) * 3)
    for given in ((*LEFT, 0.0), nowhere):
        assert torch.equal(ours(exact_model, regions(exact_model, given)), ours(exact_model))
    assert exact_model.unet.attn_processors == processors


def test_masks_weights_and_prompts_may_change_over_the_clip(exact_model):
    """Frames without motion do not see each other: each equals that of a clip in which nothing changes."""
    prompts = [{"0": TEXTS[0], "2": TEXTS[1]}]
    changing = regions(exact_model, (moving_square(), (0, None, 2), Curve.parse("0:1,2:0.5")), texts=prompts)
    found = ours(exact_model, changing, prompt={"0": "a fox", "2": "a cat"})
    for frame, prompt, text, weight in ((0, "a fox", TEXTS[0], 1.0), (2, "a cat", TEXTS[1], 0.5)):
        alone = regions(exact_model, (moving_square(), (frame,) * 3, weight), texts=[text])
        assert is_close(found[:, :, frame], ours(exact_model, alone, prompt=prompt)[:, :, frame]), frame
    free = ours(exact_model, prompt={"0": "a fox", "2": "a cat"})
    assert torch.equal(found[:, :, 1], free[:, :, 1])


def test_a_weight_may_change_over_the_steps(exact_model):
    early, whole, none = (
        ours(exact_model, regions(exact_model, (*LEFT, weight))) for weight in (Curve.parse("steps:0:1,1:0"), 1.0, 0.0)
    )
    assert (early - whole).abs().max() > 0.001 and (early - none).abs().max() > 0.001


@pytest.mark.parametrize("prompt", ["a boat at sea", {"0": "a boat at sea", "2": "snow"}])
def test_text_that_differs_by_frame_gives_the_same_result(exact_model, monkeypatch, prompt):
    """Under LoRAs with a curve, keys and values change by frame: texts are projected for every frame."""
    given = regions(exact_model, LEFT, texts=[prompt])
    shared = ours(exact_model, given)
    monkeypatch.setattr(cross_attention, "is_changed_beside", lambda layer: True)
    assert is_close(ours(exact_model, given), shared)


def test_texts_are_projected_once_per_clip(exact_model):
    seen = []
    layer = cross_attentions(exact_model.unet)[0].to_k
    handle = layer.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    ours(exact_model, regions(exact_model, LEFT, SQUARE))
    handle.remove()
    assert seen == [2, 2]  # both rows of guidance, both regions


def test_prompts_of_several_chunks_go_with_short_ones(exact_model):
    long = regions(exact_model, LEFT, SQUARE, texts=["a boat BREAK at sea", "snow"])
    assert torch.isfinite(ours(exact_model, long)).all()
    assert long.texts.shape[1] == 2 * 77


@pytest.mark.parametrize("mode", ["unet", "plug"])
def test_windows_see_the_regions_of_their_frames(exact_model, toy_motion_file, mode):
    plug(exact_model.unet, load_motion_module(toy_motion_file).double())
    try:
        settings = {"num_frames": 6, "context_length": 4, "context_overlap": 2, "context_mode": mode, "steps": 2}
        masks = torch.stack([left_half()[0], 1 - left_half()[0]])
        same, last_differs = (
            ours(exact_model, regions(exact_model, (masks, of_frame), **settings), **settings)
            for of_frame in ((0,) * 6, (0,) * 5 + (1,))
        )
        change = (same - last_differs).abs().amax(dim=(0, 1, 3, 4))
        assert change[5] > 0.01
        if mode == "unet":
            assert change[2] > 0.0001  # shares a window with frame 5
    finally:
        unplug(exact_model.unet)


def test_known_frames_have_the_region_of_the_first_new_frame(exact_model):
    given = regions(exact_model, (moving_square(), (2, 0, 1)))
    found = ours(exact_model, given, num_frames=5, num_known=2)
    same = ours(exact_model, regions(exact_model, (moving_square(), (2, 2, 2, 0, 1)), num_frames=5), num_frames=5)
    assert is_close(found, same)


def test_shares_add_up_and_overlaps_are_divided():
    masks = torch.tensor([[1.0, 1.0, 0.0, 0.5]] * 2).view(2, 1, 2, 2) * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    masks[1, 0, 0, 0] = 0
    assert text_shares(masks, 4)[..., 0].tolist() == [
        [[0.0, 0.0, 1.0, 0.0]],
        [[1.0, 0.25, 0.0, 0.25]],
        [[0.0, 0.75, 0.0, 0.75]],
    ]
    assert text_shares(torch.full((1, 1, 5, 3), 0.25), 6).flatten().tolist() == [0.75] * 6 + [0.25] * 6
    with pytest.raises(ValueError, match="7 tokens are no reduced picture of 8 x 8"):
        text_shares(torch.ones(1, 1, 8, 8), 7)
