"""Report files of no known kind: the most similar kind, and what is missing."""

import re
from typing import NoReturn

from animdiff_cli.core.text import counted
from animdiff_cli.errors import IntegrityError
from animdiff_cli.weights.files import WeightFile

#: (pattern of keys, model) for common models that AnimateDiff does not use
OTHER_MODELS: tuple[tuple[str, str], ...] = (
    (r"body\.\d+\.(?:block1|block2|in_conv|resnets)", "a T2I-Adapter"),
    (r"double_blocks\.|single_transformer_blocks\.", "Flux"),
    (r"joint_blocks\.", "Stable Diffusion 3"),
    (r"time_stack|temporal_transformer_blocks", "Stable Video Diffusion"),
    (r"pose_encoder|camera", "a camera controller such as CameraCtrl"),
    (r"down\.\d+\.0\.prior|unet_blocks", "Kandinsky"),
    (r"model\.layers\.\d+\.self_attn|transformer\.h\.\d+", "a language model"),
    (r"blocks\.\d+\.(?:self_attn|cross_attn)\.", "a video transformer such as Wan"),
    (r"conv_first|rrdb|body\.\d+\.", "an upscaler"),
    (r"vision_model\.|visual\.transformer", "a CLIP vision model"),
    (r"exp_avg|param_groups", "an optimizer state"),
)
#: (kind, pattern of similar keys, keys that the kind requires)
NEAREST: tuple[tuple[str, str, str], ...] = (
    ("motion-module", r"motion_module|temporal", "`down_blocks.N.motion_modules.M`"),
    ("LoRA", r"lora|alpha", "pairs of `lora_down` and `lora_up`, or `lora_A` and `lora_B`"),
    ("ControlNet", r"control|hint", "`input_hint_block` or `controlnet_cond_embedding`"),
    ("VAE", r"encoder|decoder|quant_conv", "`decoder.up` or `decoder.up_blocks`"),
    ("Stable Diffusion checkpoint", r"diffusion_model|resnets|attn", "`model.diffusion_model`"),
    ("text encoder", r"text_model|token", "`embeddings.token_embedding`"),
    ("textual inversion", r"^[^.]{1,40}$", "one matrix of width 768, 1024 or 1280"),
)


def raise_unknown_file(file: WeightFile) -> NoReturn:
    """Raise `IntegrityError` with the most similar kind and the keys it lacks."""
    keys = list(file.tensors)
    if any(key.endswith(".lambda_layer") for key in keys):
        raise IntegrityError(
            f"{file.path.name} is a T-LoRA, which this version cannot apply: its changes are relative to matrices that"
            " the file lacks",
            hint="merge it into a checkpoint with the program that trained it, and use that: `--model FILE`",
        )
    example = min(keys, key=len, default="nothing")[:80]
    for pattern, what in OTHER_MODELS:
        if found := next((key for key in keys if re.search(pattern, key)), None):
            raise IntegrityError(
                f"{file.path.name} looks like {what} (`{found[:80]}`), which AnimateDiff does not support",
                hint="use weights for Stable Diffusion 1.5 or SDXL",
            )
    shares = {kind: sum(bool(re.search(word, key)) for key in keys) for kind, word, _ in NEAREST}
    kind = max(shares, key=lambda name: shares[name])
    needs = next(needs for name, _, needs in NEAREST if name == kind)
    guess = f"most similar to a {kind}, but without {needs}" if shares[kind] else "no key resembles a known kind"
    raise IntegrityError(
        f"{file.path.name} is not a known kind of weight file ({counted(len(keys), 'tensor')}, such as `{example}`):"
        f" {guess}",
        hint="known kinds: motion modules, checkpoints, LoRAs, VAEs, ControlNets, SparseCtrl, IP-Adapters, embeddings",
    )
