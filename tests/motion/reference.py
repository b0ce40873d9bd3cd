"""The official computation, plain and slow: 5D tensors, einops, one statement per step of the facts.

It walks a stock UNet by hand and owes nothing to `animdiff_cli.motion`: weights come in as an official state dict.
"""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat


def group_norm_per_frame(x, weight, bias, groups, eps):
    frames = x.shape[2]
    x = rearrange(x, "b c f h w -> (b f) c h w")
    return rearrange(F.group_norm(x, groups, weight, bias, eps), "(b f) c h w -> b c f h w", f=frames)


def group_norm_across_frames(x, weight, bias, groups, eps):
    return F.group_norm(x, groups, weight, bias, eps)


def temporal_attention(x, w, prefix, heads):
    """`x`: [(b p), f, d]; the position code is added to the normalised input of each attention."""
    x = x + w[prefix + "pos_encoder.pe"][:, : x.shape[1]]
    q, k, v = (
        rearrange(x @ w[f"{prefix}to_{name}.weight"].T, "n f (h e) -> n h f e", h=heads) for name in ("q", "k", "v")
    )
    weights = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)
    mixed = rearrange(weights @ v, "n h f e -> n f (h e)")
    return mixed @ w[prefix + "to_out.0.weight"].T + w[prefix + "to_out.0.bias"]


def temporal_transformer(x, w, *, norm_across_frames):
    """`x`: [b, c, f, h, w]; `w`: weights of one site, named from `norm.weight` on."""
    batch, _, frames, height, width = x.shape
    norm = group_norm_across_frames if norm_across_frames else group_norm_per_frame
    h = rearrange(norm(x, w["norm.weight"], w["norm.bias"], 32, 1e-6), "b c f h w -> (b f) (h w) c")
    h = h @ w["proj_in.weight"].T + w["proj_in.bias"]
    block = "transformer_blocks.0."
    for i in range(2):
        n = F.layer_norm(h, h.shape[-1:], w[f"{block}norms.{i}.weight"], w[f"{block}norms.{i}.bias"])
        n = rearrange(n, "(b f) p d -> (b p) f d", f=frames)
        n = temporal_attention(n, w, f"{block}attention_blocks.{i}.", heads=8)
        h = h + rearrange(n, "(b p) f d -> (b f) p d", b=batch)
    n = F.layer_norm(h, h.shape[-1:], w[f"{block}ff_norm.weight"], w[f"{block}ff_norm.bias"])
    value, gate = (n @ w[f"{block}ff.net.0.proj.weight"].T + w[f"{block}ff.net.0.proj.bias"]).chunk(2, dim=-1)
    h = h + (value * F.gelu(gate)) @ w[f"{block}ff.net.2.weight"].T + w[f"{block}ff.net.2.bias"]
    h = h @ w["proj_out.weight"].T + w["proj_out.bias"]
    return x + rearrange(h, "(b f) (h w) c -> b c f h w", f=frames, h=height, w=width)


class OfficialUNet:
    """A stock `UNet2DConditionModel` run the way the official inflated UNet runs, motion included."""

    def __init__(self, unet, motion_state, version):
        self.unet, self.state, self.version = unet, motion_state, version

    def __call__(self, latents, timestep, text, pooled=None, sizes=None):
        """`latents`: [b, 4, f, h, w]; `text`: [b, l, d]; SDXL's `pooled`: [b, p], and six `sizes` for all."""
        unet, frames = self.unet, latents.shape[2]
        t = torch.full((latents.shape[0],), timestep)
        self.temb = unet.time_embedding(unet.time_proj(t).to(latents.dtype))
        if pooled is not None:
            six = unet.add_time_proj(torch.tensor(sizes)).flatten().to(latents.dtype)
            self.temb = self.temb + unet.add_embedding(torch.cat([pooled, six.expand(len(pooled), -1)], dim=1))
        self.text = repeat(text, "b l d -> (b f) l d", f=frames)
        x = self.image(unet.conv_in, latents)
        skips = [x]
        for i, block in enumerate(unet.down_blocks):
            for j in range(len(block.resnets)):
                x = self.layer(block, x, f"down_blocks.{i}", j)
                skips.append(x)
            for sampler in block.downsamplers or []:
                x = self.image(sampler, x)
                skips.append(x)
        x = self.resnet(unet.mid_block.resnets[0], x)
        x = self.attend(unet.mid_block.attentions[0], x)
        x = self.motion(x, "mid_block.motion_modules.0")
        x = self.resnet(unet.mid_block.resnets[1], x)
        for i, block in enumerate(unet.up_blocks):
            for j in range(len(block.resnets)):
                x = self.layer(block, torch.cat([x, skips.pop()], dim=1), f"up_blocks.{i}", j)
            for sampler in block.upsamplers or []:
                x = self.image(sampler, x)
        return self.image(unet.conv_out, F.silu(self.image_norm(unet.conv_norm_out, x)))

    def layer(self, block, x, name, j):
        x = self.resnet(block.resnets[j], x)
        if hasattr(block, "attentions"):
            x = self.attend(block.attentions[j], x)
        return self.motion(x, f"{name}.motion_modules.{j}")

    def image(self, layer, x):
        return rearrange(layer(rearrange(x, "b c f h w -> (b f) c h w")), "(b f) c h w -> b c f h w", f=x.shape[2])

    def image_norm(self, norm, x):
        kind = group_norm_across_frames if self.version in ("v1", "hotshot") else group_norm_per_frame
        return kind(x, norm.weight, norm.bias, norm.num_groups, norm.eps)

    def resnet(self, resnet, x):
        h = self.image(resnet.conv1, F.silu(self.image_norm(resnet.norm1, x)))
        h = h + resnet.time_emb_proj(F.silu(self.temb))[:, :, None, None, None]
        h = self.image(resnet.conv2, F.silu(self.image_norm(resnet.norm2, h)))
        return h + (self.image(resnet.conv_shortcut, x) if resnet.conv_shortcut else x)

    def attend(self, attention, x):
        return self.image(lambda y: attention(y, encoder_hidden_states=self.text).sample, x)

    def motion(self, x, name):
        prefix = f"{name}.temporal_transformer."
        w = {key.removeprefix(prefix): value for key, value in self.state.items() if key.startswith(prefix)}
        return temporal_transformer(x, w, norm_across_frames=self.version == "sdxl") if w else x
