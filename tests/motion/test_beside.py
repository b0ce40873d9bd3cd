"""LoRAs beside the weights of a motion module, whose scale varies by frame, with windows inside the UNet."""

import pytest
import torch

from animdiff_cli.core.curves import Curve
from animdiff_cli.core.windows import WeightedWindow
from animdiff_cli.motion.beside import BesideLora, applied_beside
from animdiff_cli.weights.lora_beside import LayerChange

NAME = "down_blocks.0.motion_modules.0"
TO_Q = "transformer_blocks.0.attention_blocks.0.to_q"
SCALES = [0.0, 1.0, 2.0, 3.0]


@torch.no_grad()
@pytest.mark.parametrize("layer", [TO_Q, "proj_out"])
def test_the_scale_follows_a_window_that_wraps_and_is_as_long_as_the_clip(make_unet, make_motion, layer):
    motion, wrapped = make_motion(make_unet("sd15"), "v3"), (2, 3, 0, 1)
    transformer = motion.transformer(NAME)
    width = transformer.proj_in.in_features
    generator = torch.Generator().manual_seed(4)
    hidden, delta = (torch.randn(*shape, generator=generator) for shape in ((4, width, 2, 2), (width, width)))
    hidden, delta = hidden.to(transformer.proj_in.weight), delta.to(transformer.proj_in.weight)
    lora = BesideLora([(f"{NAME}.temporal_transformer.{layer}", LayerChange(delta))], Curve.parse("0:0,3:3"), True)

    def moved(images, scales, *windows):
        with applied_beside(lora, motion) as state, motion.frames(4, windows):
            state.begin(torch.tensor(scales))
            return transformer(images, 4, 1.0, motion.state.windows)

    inside = moved(hidden, SCALES, WeightedWindow(wrapped, (1.0,) * 4))
    alone = moved(hidden[list(wrapped)], [SCALES[frame] for frame in wrapped])
    assert torch.allclose(inside[list(wrapped)], alone, atol=1e-5)
    assert not torch.allclose(inside, moved(hidden, [0.0] * 4, WeightedWindow(wrapped, (1.0,) * 4)), atol=1e-3)
