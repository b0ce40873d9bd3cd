"""Each frame has a text of its own: mixed keys and values equal those of mixed texts."""

import math

import pytest
import torch

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.curves import Blend, TextTrack
from animdiff_cli.core.where import Timeline
from animdiff_cli.diffusion.conditions import PromptCondition, PromptTravelCondition, SdxlCondition, prepared
from animdiff_cli.diffusion.frame_texts import FrameTexts, frame_texts, held
from animdiff_cli.diffusion.pipeline import Pipeline, text_conditions
from animdiff_cli.diffusion.predictors import unet_predictor
from animdiff_cli.diffusion.prompt_rows import encode_rows
from animdiff_cli.diffusion.text_encoders import PromptEmbeds
from animdiff_cli.motion import plug
from tests.toy_networks import ANY_CLIP

FRAMES = 6
ROWS = [
    [Blend(0, 0, 0.0)] * FRAMES,
    [Blend(1, 1, 0.0), Blend(1, 2, 0.25), Blend(1, 2, 0.75), Blend(2, 2, 0.0), Blend(2, 0, 0.5), Blend(0, 0, 0.0)],
]


@pytest.fixture
def texts():
    return torch.randn(3, 7, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def blended(texts, blend, interpolation):
    """Interpolate one frame's text the plain way."""
    a, b, t = texts[blend.before], texts[blend.after], blend.fraction
    if interpolation == "linear" or blend.before == blend.after:
        return (1 - t) * a + t * b
    rows = []
    for one, other in zip(a, b, strict=True):
        angle = math.acos(float(one @ other / (one.norm() * other.norm())))
        rows.append((math.sin((1 - t) * angle) * one + math.sin(t * angle) * other) / math.sin(angle))
    return torch.stack(rows)


def plain(texts, frames, interpolation):
    return torch.stack([blended(texts, ROWS[row][frame], interpolation) for row in range(2) for frame in frames])


@pytest.mark.parametrize("interpolation", ["linear", "slerp"])
def test_texts_of_frames_are_interpolated(texts, interpolation):
    mixed = frame_texts(texts, ROWS, interpolation).at([4, 1, 2])
    assert (mixed - plain(texts, [4, 1, 2], interpolation)).abs().max() < 1e-5
    assert torch.equal(frame_texts(texts, ROWS, interpolation).at([0, 3]), texts[[0, 0, 1, 2]])


def test_slerp_between_equal_directions_is_linear(texts):
    doubled = torch.cat([texts[:1], 2 * texts[:1]])
    mixed = frame_texts(doubled, [[Blend(0, 1, 0.5)]], "slerp").at([0])
    assert (mixed - 1.5 * texts[:1]).abs().max() < 1e-5


@pytest.mark.parametrize("layout", ["sd15", "sdxl"])
@pytest.mark.parametrize("interpolation", ["linear", "slerp"])
@pytest.mark.parametrize("frames", [range(FRAMES), [4, 5, 0, 1]])
def test_mixed_keys_and_values_equal_projecting_every_text(make_unet, layout, interpolation, frames, texts):
    unet = make_unet(layout)
    condition = PromptTravelCondition(frame_texts(texts, ROWS, interpolation), share_early_layers=True)
    latents = torch.randn(1, 4, len(frames), 8, 8, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        images = latents[0].transpose(0, 1)
        expected = unet(torch.cat([images, images]), 500, plain(texts, frames, interpolation)).sample
        with prepared([condition], unet, ANY_CLIP) as ready:
            ours = unet_predictor(unet, ready, rows=2)(latents, torch.tensor(500), 0, frames)
    assert (ours.transpose(1, 2).flatten(0, 1) - expected).abs().max() < 1e-10


@pytest.mark.parametrize("interpolation", ["linear", "slerp"])
def test_in_float32_keys_and_values_agree_to_five_digits(interpolation, texts):
    projection = torch.nn.Linear(24, 64, bias=False)
    with torch.no_grad():
        mixed = frame_texts(texts.float(), ROWS, interpolation).mix(range(FRAMES)).of(projection(texts.float()))
        expected = projection(plain(texts, range(FRAMES), interpolation).float())
    assert (mixed - expected).abs().max() <= 1e-5


def test_text_is_projected_once_for_all_frames_and_windows(make_unet, texts):
    unet = make_unet(dtype=torch.float64)
    shapes = []
    unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_k.register_forward_hook(
        lambda _, args, output: shapes.append(tuple(output.shape[:2]))
    )
    condition = PromptTravelCondition(frame_texts(texts, ROWS))
    latents = torch.zeros(1, 4, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad(), prepared([condition], unet, ANY_CLIP) as ready:
        for frames in ([0, 1, 2], [3, 4, 5], [2, 3, 4]):
            unet_predictor(unet, ready, rows=2)(latents, torch.tensor(500), 0, frames)
    assert shapes == [(3, 7)]


def test_processors_that_cannot_mix_get_a_text_per_frame(make_unet, texts):
    unet = make_unet(dtype=torch.float64)
    attention = unet.mid_block.attentions[0].transformer_blocks[0].attn2
    seen = []

    class Foreign:
        def __call__(self, attn, hidden_states, encoder_hidden_states=None, **kwargs):
            seen.append(encoder_hidden_states)
            return hidden_states

    attention.processor = Foreign()
    latents = torch.zeros(1, 4, 2, 8, 8, dtype=torch.float64)
    with torch.no_grad(), prepared([PromptTravelCondition(frame_texts(texts, ROWS, "slerp"))], unet, ANY_CLIP) as ready:
        unet_predictor(unet, ready, rows=2)(latents, torch.tensor(500), 0, [1, 4])
    assert (seen[0] - plain(texts, [1, 4], "slerp")).abs().max() < 1e-5


def test_frames_of_one_text_equal_the_prompt_that_does_not_change(make_unet, make_motion, texts):
    unet = make_unet(dtype=torch.float32)
    plug(unet, make_motion(unet))
    texts = texts.float()
    still = [[Blend(0, 0, 0.0)] * 4, [Blend(1, 1, 0.0)] * 4]
    latents = torch.randn(1, 4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    results = []
    for condition in (PromptCondition(texts[:2], True), PromptTravelCondition(frame_texts(texts, still), True)):
        with torch.no_grad(), prepared([condition], unet, ANY_CLIP) as ready:
            results.append(unet_predictor(unet, ready, rows=2)(latents, torch.tensor(500), 0))
    assert (results[0] - results[1]).abs().max() < 1e-5


def config(**settings):
    return GenerateConfig(**{"prompt": "a", "model": "toy", "seed": 1, "num_frames": 5, **settings})


def encode(text):
    numbers = torch.full((1, 77, 2), float(len(text or "")))
    return PromptEmbeds(numbers, numbers[:, 0])


def test_a_prompt_that_does_not_change_is_one_row():
    for prompt in ("a", {"0": "a", "-1": "a"}):
        rows = encode_rows(encode, config(prompt=prompt), Timeline(5, 8, 1))
        assert rows.embeds.shape == (2, 77, 2) and rows.pooled.shape == (2, 2)
        assert rows.embeds[:, 0, 0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("settings", "loop", "lengths"),
    [
        ({"prompt": {"0": "a", "4": "abcde"}}, False, [1, 2, 3, 4, 5]),
        ({"prompt": {"1": "a", "3": "abc"}}, False, [1, 1, 2, 3, 3]),
        ({"prompt": {"0-2": "a", "4": "abc"}}, False, [1, 1, 1, 2, 3]),
        ({"prompt": {"0": "a", "4": "abcde"}, "prompt_hold": 0.5}, False, [1, 1, 1, 3, 5]),
        ({"prompt": {"0": "a", "4": "abcde"}, "prompt_hold": 1}, False, [1, 1, 1, 1, 5]),
        ({"prompt": {"0": "a", "3": "abcd"}}, True, [1, 2, 3, 4, 2.5]),
    ],
)
def test_every_frame_has_its_own_text(settings, loop, lengths):
    rows = encode_rows(encode, config(**settings), Timeline(5, 8, 1, loop))
    texts = rows.embeds.at(range(5)).view(2, 5, 77, 2)
    assert texts[0].abs().max() == 0
    assert texts[1, :, 0, 0].tolist() == pytest.approx(lengths)
    assert rows.pooled.at(range(5)).view(2, 5, 2)[1, :, 0].tolist() == pytest.approx(lengths)


def test_the_negative_prompt_travels_too_and_empty_texts_are_unconditional():
    asked = []

    def spy(text):
        asked.append(text)
        return encode(text)

    rows = encode_rows(spy, config(negative_prompt={"0": "", "4": "abcde"}), Timeline(5, 8, 1))
    assert asked == [None, "abcde", "a"]
    assert rows.embeds.at(range(5))[:5, 0, 0].tolist() == pytest.approx([0, 1.25, 2.5, 3.75, 5])
    assert rows.embeds.at([3, 0])[2:, 0, 0].tolist() == [1, 1]


def test_without_guidance_there_is_one_row():
    rows = encode_rows(encode, config(prompt={"0": "a", "4": "b"}, guidance_scale=1), Timeline(5, 8, 1))
    assert isinstance(rows.embeds, FrameTexts) and rows.embeds.at([0, 1]).shape == (2, 77, 2)


def test_sdxl_has_a_pooled_text_per_frame(make_unet):
    unet = make_unet("sdxl")
    pipe = Pipeline(unet, None, lambda prompt, clip_skip, syntax: encode(prompt))
    conditions = text_conditions(pipe, config(prompt={"0": "a", "4": "abcde"}))
    (sdxl,) = [condition for condition in conditions if isinstance(condition, SdxlCondition)]
    call = type("Call", (), {"frames": [0, 2], "rows": 2})()
    added = sdxl.contribute(call)["added_cond_kwargs"]
    assert added["text_embeds"].tolist() == [[0, 0], [0, 0], [1, 1], [3, 3]]
    assert added["time_ids"].shape == (4, 6)


@pytest.mark.parametrize("hold", [0, 0.3, 0.99, 1])
def test_a_hold_keeps_the_text_and_then_catches_up(hold):
    assert held(0.0, hold) == 0
    assert 0 <= held(0.5, hold) <= 0.5
    assert held(1 - 1e-12, hold) == pytest.approx(0 if hold == 1 else 1)


def test_a_track_hashes_and_compares_as_its_keys():
    assert len({TextTrack.of({"0": "a"}), TextTrack.of({"0": "a"})}) == 1
