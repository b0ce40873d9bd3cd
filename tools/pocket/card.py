"""The model card that ships beside the pocket model's weights."""

from collections.abc import Mapping
from typing import Any

from tools.pocket.recipe import SHARES
from tools.pocket.world import COLOURS, OBJECTS, PLACES

_TEXT = """# The pocket model

A miniature Stable Diffusion 1.5 with an AnimateDiff motion module, trained from scratch on drawn scenes. It has the
architecture of Stable Diffusion (`AutoencoderKL`, `UNet2DConditionModel` with four levels, `CLIPTextModel`, a
byte-level BPE `CLIPTokenizer`) with fewer channels, and renders in seconds on a CPU.

- Images have 128 x 128 pixels, clips 16 frames at 8 frames per second. The motion module supports at most 32 frames.
- Objects: {objects}. Each follows its own law of motion.
- Colours: {colours}.
- {places}.
- It was trained on nothing else. Write prompts like "a red rocket in the night sky".
- Stills use the `scaled_linear` noise schedule, clips `linear`, as in AnimateDiff.
- All training images were drawn by `tools/pocket/world.py`. License: Apache-2.0.

| file | stage | steps | batch | learning rate | minutes | final loss |
|---|---|---|---|---|---|---|
{rows}

{clips} clips, data seed {data_seed}, world version {world_version}, trained on {device}. To train it again:

```
python -m tools.pocket train --stage all --minutes {minutes:.0f} --out animdiff_cli/pocket
tools/pocket/refine_all.sh .pocket/refine .pocket/refined    # on a GPU: the stages "refined" and `motion-module`
python -m tools.pocket study                                 # the adapter and the LoRAs
python -m tools.pocket control --minutes 37 --out animdiff_cli/pocket/controlnet_canny
python -m tools.pocket sparse --minutes 70 --out animdiff_cli/pocket/sparsectrl_rgb.safetensors
python -m tools.pocket image-prompt --minutes 30 --out animdiff_cli/pocket/ip_adapter
python -m tools.pocket steering --out steering.json          # what these three do
```
"""


def model_card(recipes: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the card from the recipe of each weight file; `recipes` is keyed by file name."""
    rows = [
        f"| `{file}` | {stage['stage']} | {stage['steps']} | {stage['batch']} | {stage['learning_rate']:g}"
        f" | {stage['minutes'] or '–'} | {stage['final_loss']:.4f} |"
        for file, recipe in recipes.items()
        for stage in recipe["stages"]
    ]
    some = next(iter(recipes.values()))
    stages = [stage for recipe in recipes.values() for stage in recipe["stages"]]
    # stages of `train`; other parts are trained by other commands
    distinct = {one["stage"]: one["minutes"] for one in stages if one["stage"] in SHARES}
    return _TEXT.format(
        objects=", ".join(OBJECTS),
        colours=", ".join(COLOURS),
        places="Places: " + "; ".join(PLACES),
        rows="\n".join(rows),
        minutes=max(1, sum(distinct.values())),
        **{key: some[key] for key in ("clips", "data_seed", "world_version", "device")},
    )
