"""The model card that ships beside the pocket model's weights."""

from collections.abc import Mapping
from typing import Any

from tools.pocket.recipe import SHARES
from tools.pocket.world import COLOURS, OBJECTS, PLACES

_TEXT = """# The pocket model

A miniature Stable Diffusion 1.5 with an AnimateDiff motion module, trained from nothing on a drawn world. It has the
architecture of the real thing (`AutoencoderKL`, `UNet2DConditionModel` with four levels, `CLIPTextModel`, a byte-level
BPE `CLIPTokenizer`) with fewer channels, and it draws in seconds on a CPU.

- Images are 128 x 128 pixels; clips have 16 frames at 8 frames per second, and the module has positions for 32.
- It knows {objects}; each moves by a law of its own.
- In {colours}.
- {places}.
- Anything else it was never shown. Prompts it understands read like "a red rocket in the night sky".
- Stills are drawn with the `scaled_linear` schedule, clips with `linear`, as AnimateDiff does.
- Trained on nothing but pictures drawn by `tools/pocket/world.py`. License: Apache-2.0.

| file | stage | steps | batch | learning rate | minutes | final loss |
|---|---|---|---|---|---|---|
{rows}

{clips} clips, data seed {data_seed}, world version {world_version}, trained on {device}. To train it again:

```
python -m tools.pocket train --stage all --minutes {minutes:.0f} --out animdiff_cli/pocket
tools/pocket/refine_all.sh .pocket/refine .pocket/refined    # on a GPU: what "refined" means above, and `motion-module`
python -m tools.pocket study                                 # what else `animdiff train-*` made
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
