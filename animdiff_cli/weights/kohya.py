"""kohya's module names: dots written as underscores, undone by knowing every word a module name is made of."""

import re

#: words of diffusers' UNet and CLIP, of the original UNet, and of motion modules; numbers come on top
WORDS = (
    *("down_blocks", "mid_block", "up_blocks", "resnets", "attentions", "downsamplers", "upsamplers"),
    *("transformer_blocks", "attn1", "attn2", "to_q", "to_k", "to_v", "to_out", "ff", "net", "proj"),
    *("proj_in", "proj_out", "conv", "conv1", "conv2", "conv_in", "conv_out", "conv_shortcut"),
    *("time_embedding", "add_embedding", "time_emb_proj", "linear_1", "linear_2"),
    *("input_blocks", "middle_block", "output_blocks", "in_layers", "emb_layers", "out_layers"),
    *("skip_connection", "op", "time_embed", "label_emb", "out", "norm", "norm1", "norm2", "norm3"),
    *("motion_modules", "temporal_transformer", "attention_blocks", "norms", "ff_norm"),
    *("text_model", "encoder", "layers", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj"),
    *("mlp", "fc1", "fc2", "embeddings", "token_embedding", "position_embedding", "text_projection"),
    *("layer_norm1", "layer_norm2", "final_layer_norm"),
)
_WORD = re.compile("(" + "|".join(sorted(WORDS, key=len, reverse=True)) + r"|\d+)(?:_|$)")


def dotted(name: str) -> str | None:
    """Undo the underscores of a kohya module name; None if it holds a word no known model has.

    >>> dotted("down_blocks_0_attentions_1_transformer_blocks_0_attn2_to_out_0")
    'down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_out.0'
    """
    words, place = [], 0
    while place < len(name):
        match = _WORD.match(name, place)
        if match is None:
            return None
        words.append(match[1])
        place = match.end()
    return ".".join(words) if words and not name.endswith("_") else None


def underscored(module: str) -> str:
    """Write a module name as kohya does."""
    return module.replace(".", "_")
