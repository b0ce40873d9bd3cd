"""Parse the tensor names of LoRAs in every layout, and format them in another."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from animdiff_cli.core.model_parts import LORA_PARTS, MODEL_PARTS, PartName
from animdiff_cli.weights import ldm_unet
from animdiff_cli.weights.motion import diffusers_name, official_name

Layout = Literal["original", "diffusers", "kohya", "peft"]

#: kohya suffix → role, including the LyCORIS families
KOHYA_ROLES = {
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora_mid.weight": "mid",
    **{
        role: role
        for role in (
            *("alpha", "dora_scale", "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
            *("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
            *("scalar", "diff", "diff_b", "w_norm", "b_norm", "oft_blocks", "rescale"),
        )
    },
    **{f"{role}.weight": role for role in ("a1", "a2", "b1", "b2", "bm")},
    "weight": "ia3",
    "on_input": "on_input",
}
#: suffixes that dotted names share with checkpoints or other formats
_KOHYA_ONLY = ("alpha", "weight", "on_input")
#: suffix in files of peft, diffusers and older diffusers → (layout, role)
DOTTED_ROLES: Mapping[str, tuple[Layout, str]] = {
    "lora_A.weight": ("peft", "down"),
    "lora_B.weight": ("peft", "up"),
    "lora_B.bias": ("peft", "up_bias"),
    "lora_magnitude_vector": ("peft", "magnitude"),
    "lora_magnitude_vector.weight": ("peft", "magnitude"),
    "lora.down.weight": ("diffusers", "down"),
    "lora.up.weight": ("diffusers", "up"),
    "lora_linear_layer.down.weight": ("diffusers", "down"),
    "lora_linear_layer.up.weight": ("diffusers", "up"),
    "alpha": ("diffusers", "alpha"),
    **{suffix: ("kohya", role) for suffix, role in KOHYA_ROLES.items() if suffix not in _KOHYA_ONLY},
}
#: prefix of textual inversions inside a LoRA file, as in `bundle_emb.NAME.string_to_param.*`
BUNDLED = "bundle_emb."
#: ResNets per level of every base, for kohya files that use the original numbering of modules
LAYERS = 2
#: prefix of a role that only one family has → family
_FAMILIES = {
    "hada": "loha",
    "lokr": "lokr",
    "ia3": "ia3",
    "a1": "glora",
    "oft_blocks": "diag-oft",
    "boft_blocks": "boft",
}
KOHYA_PARTS = {prefix: part.name for part in MODEL_PARTS for prefix in part.kohya}
#: every word in module names of the diffusers UNet, CLIP, the original UNet and motion modules, except numbers
KOHYA_WORDS = (
    *("down_blocks", "mid_block", "up_blocks", "resnets", "attentions", "downsamplers", "upsamplers"),
    *("transformer_blocks", "attn1", "attn2", "to_q", "to_k", "to_v", "to_out", "ff", "net", "proj"),
    *("proj_in", "proj_out", "conv", "conv1", "conv2", "conv_in", "conv_out", "conv_shortcut"),
    *("time_embedding", "add_embedding", "time_emb_proj", "linear_1", "linear_2"),
    *("input_blocks", "middle_block", "output_blocks", "in_layers", "emb_layers", "out_layers"),
    *("skip_connection", "op", "time_embed", "label_emb", "out", "norm", "norm1", "norm2", "norm3"),
    *("conv_norm_out", "group_norm", "in_layers", "emb", "positional_embedding"),
    *("motion_modules", "temporal_transformer", "attention_blocks", "norms", "ff_norm"),
    *("text_model", "encoder", "layers", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj"),
    *("mlp", "fc1", "fc2", "embeddings", "token_embedding", "position_embedding", "text_projection"),
    *("layer_norm1", "layer_norm2", "final_layer_norm"),
)
_KOHYA_WORD = re.compile("(" + "|".join(sorted(KOHYA_WORDS, key=len, reverse=True)) + r"|\d+)(?:_|$)")
_KOHYA = re.compile(rf"lora_({'|'.join(KOHYA_PARTS)})_([^.]+)\.(.+)")
_PROCESSOR = re.compile(r"(unet\.)?(.+)\.processor\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.weight")
_DOTTED = re.compile(
    rf"(?:base_model\.model\.)?(?:({'|'.join(LORA_PARTS)})\.)?(.+?)\.("
    + "|".join(re.escape(suffix) for suffix in sorted(DOTTED_ROLES, key=len, reverse=True))
    + ")"
)
#: attentions of the text encoder in files of diffusers 0.17
_OLD_TEXT = re.compile(r"(text_encoder(?:_2)?)\.(.+)\.to_(q|k|v|out)_lora\.(down|up)\.weight")
#: the name of a peft adapter within a key
_ADAPTER = re.compile(r"(\.lora_(?:A|B|magnitude_vector))\.(?!weight$|bias$)[^.]+(\.(?:weight|bias))?$")
#: LDM module names without kohya's prefix, as trainers for ComfyUI write them
_LDM = ("input_blocks.", "middle_block.", "output_blocks.", "time_embed.", "label_emb.", "out.")
_PROJECTION = re.compile(r"(.+)\.(to_q|to_k|to_v|to_out)(?:\.0)?")


@dataclass(frozen=True, slots=True)
class LoraName:
    """One tensor of a LoRA: the part and module that it changes, by diffusers name, and its role.

    Roles: down, up, mid, alpha, magnitude, and those of LyCORIS (`hada_w1_a`, `lokr_w2`, `dora_scale`, `oft_blocks` …).
    """

    part: PartName
    module: str
    role: str

    @property
    def weight(self) -> str:
        """Canonical name of the changed weight."""
        return f"{self.part}.{self.module}.weight"


def parse_key(key: str) -> tuple[Layout, LoraName] | None:
    """Parse a key into its layout and meaning; None if it is not a key of a LoRA.

    >>> parse_key("lora_te_text_model_encoder_layers_3_mlp_fc1.alpha")[1].module
    'text_model.encoder.layers.3.mlp.fc1'
    """
    plain = _without_wrappers(key)
    return next((found for read in (_kohya, _processor, _old_text, _dotted) if (found := read(plain))), None)


def _without_wrappers(key: str) -> str:
    """Remove what wrappers, compilers and trainers add to names."""
    plain = key.removeprefix("module.").replace("_orig_mod.", "").replace("_orig_mod_", "")
    plain = plain.replace("base_model.model.", "", 1)
    for prefix in ("model.diffusion_model.", "diffusion_model."):
        if plain.startswith(prefix):
            plain = f"unet.{plain.removeprefix(prefix)}"
    if plain.startswith("lycoris_"):
        part = "te" if plain.startswith("lycoris_text_model_") else "unet"
        plain = f"lora_{part}_{plain.removeprefix('lycoris_')}"
    return _ADAPTER.sub(r"\1\2", plain)


def format_key(name: LoraName, layout: Layout, *, two_encoders: bool = False) -> str | None:
    """Format a name in a layout; None if it has no key for this role.

    `two_encoders`: number the text encoders in kohya keys, as for SDXL.

    >>> format_key(LoraName("unet", "mid_block.attentions.0.proj_in", "down"), "kohya")
    'lora_unet_mid_block_attentions_0_proj_in.lora_down.weight'
    """
    if layout == "kohya":
        return _format_kohya(name, two_encoders)
    return _FORMATS[layout](name)


def family(roles: Iterable[str], *, convolutions: bool) -> str:
    """Return the family of a LoRA by the roles of its keys."""
    present = set(roles)
    if present & {"dora_scale", "magnitude"}:
        return "dora"
    for prefix, name in _FAMILIES.items():
        if any(role.startswith(prefix) for role in present):
            return name
    if "down" not in present and present & {"diff", "diff_b", "w_norm", "b_norm"}:
        return "full"
    return "locon" if convolutions or "mid" in present else "lora"


def dotted(name: str) -> str | None:
    """Restore the dots of a kohya module name; None if it contains an unknown word.

    >>> dotted("down_blocks_0_attentions_1_transformer_blocks_0_attn2_to_out_0")
    'down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_out.0'
    """
    words, place = [], 0
    while place < len(name):
        match = _KOHYA_WORD.match(name, place)
        if match is None:
            return None
        words.append(match[1])
        place = match.end()
    return ".".join(words) if words and not name.endswith("_") else None


def underscored(module: str) -> str:
    """Convert a module name to kohya's, with underscores."""
    return module.replace(".", "_")


def _kohya(key: str) -> tuple[Layout, LoraName] | None:
    match = _KOHYA.fullmatch(key)
    module, role = (dotted(match[2]), KOHYA_ROLES.get(match[3])) if match else (None, None)
    if match is None or module is None or role is None:
        return None
    if module.startswith(("input_blocks.", "middle_block.", "output_blocks.", "time_embed.", "label_emb.")):
        module = ldm_unet.to_diffusers(module, LAYERS)
    return ("kohya", LoraName(KOHYA_PARTS[match[1]], diffusers_name(module) or module, role)) if module else None


def _processor(key: str) -> tuple[Layout, LoraName] | None:
    match = _PROCESSOR.fullmatch(key)
    if match is None:
        return None
    projection = "to_out.0" if match[3] == "to_out" else match[3]
    module = f"{match[2]}.{projection}"
    layout: Layout = "diffusers" if match[1] else "original"
    return layout, LoraName("unet", diffusers_name(module) or module, match[4])


def _old_text(key: str) -> tuple[Layout, LoraName] | None:
    match = _OLD_TEXT.fullmatch(key)
    if match is None:
        return None
    part: PartName = "text_encoder_2" if match[1] == "text_encoder_2" else "text_encoder"
    return "diffusers", LoraName(part, f"{match[2]}.{match[3]}_proj", match[4])


def _dotted(key: str) -> tuple[Layout, LoraName] | None:
    match = _DOTTED.fullmatch(key)
    if match is None or match[2].startswith("lora_"):
        return None
    part: PartName = next((part for part in LORA_PARTS if part == match[1]), "unet")
    layout, role = DOTTED_ROLES[match[3]]
    module = match[2] if part == "unet" or match[2].startswith("text_") else f"text_model.{match[2]}"
    if part == "unet" and module.startswith(_LDM):
        module = ldm_unet.to_diffusers(module, LAYERS) or module
    return layout, LoraName(part, diffusers_name(module) or module, role)


def _format_kohya(name: LoraName, two_encoders: bool) -> str | None:
    role = {role: suffix for suffix, role in KOHYA_ROLES.items()}.get(name.role)
    prefix = next(part.kohya[-1 if two_encoders else 0] for part in MODEL_PARTS if part.name == name.part)
    module = official_name(name.module) or name.module
    return role and f"lora_{prefix}_{underscored(module)}.{role}"


def _format_original(name: LoraName) -> str | None:
    match = _PROJECTION.fullmatch(official_name(name.module) or name.module)
    if name.part != "unet" or name.role not in ("down", "up") or match is None:
        return None
    return f"{match[1]}.processor.{match[2]}_lora.{name.role}.weight"


def _format_diffusers(name: LoraName) -> str | None:
    if name.role not in ("down", "up"):
        return None
    return f"{name.part}.{name.module}.{'lora' if name.part == 'unet' else 'lora_linear_layer'}.{name.role}.weight"


def _format_peft(name: LoraName) -> str | None:
    letter = {"down": "lora_A.weight", "up": "lora_B.weight", "magnitude": "lora_magnitude_vector"}.get(name.role)
    return letter and f"{name.part}.{name.module}.{letter}"


_FORMATS: Mapping[str, Callable[[LoraName], str | None]] = {
    "original": _format_original,
    "diffusers": _format_diffusers,
    "peft": _format_peft,
}
