"""Floating-point operations of a UNet call and of decoding, counted from configs.

Matrix products, convolutions and attention are counted, an addition and a multiplication as two operations, as by
`torch.utils.flop_counter`. Norms and activations are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from animdiff_cli.diffusion.unet_layers import Layer, is_encoder, unet_layers
from animdiff_cli.motion import MotionSpec

TEXT_TOKENS = 77


@dataclass(frozen=True, slots=True)
class UNetCost:
    """Operations of UNet calls on frames of one size. `motion` is None for still frames.

    `rows` is 2 with classifier-free guidance. `shares_rows`: layers before the text run once for both rows
    (`diffusion.shared_cfg`). `motion_modules`: how many of this layout render together. `other_tokens`: those of
    pictures and regions that an image reads beside its text, on average. Keys and values are computed once per clip and
    left out.
    """

    config: Mapping[str, Any]
    motion: MotionSpec | None
    height: int  # of latents
    width: int
    rows: int = 1
    shares_rows: bool = True
    text_tokens: int = TEXT_TOKENS
    motion_modules: int = 1
    other_tokens: float = 0.0

    def call(self, num_frames: int) -> int:
        """Count one call for `num_frames` frames that attend to each other."""
        return self.call_in_windows(num_frames, [num_frames])

    def call_in_windows(self, num_frames: int, windows: Sequence[int], *, is_deep: bool = True) -> int:
        """Count one call for `num_frames` frames, whose temporal transformers run in windows of these lengths.

        If not `is_deep`, only the outermost layers run (`diffusion.deep_cache`).
        """
        layers = list(self._layers() if is_deep else self._outermost())
        image = sum(self._image_layer(layer) for layer in layers if layer.kind != "temporal")
        images = num_frames * self.rows * (image + self._embedding() + self._ends())
        saved = num_frames * self._before_text(is_deep) if self.rows == 2 and self.shares_rows else 0
        temporal = sum(self._temporal(layer, num_frames, windows) for layer in layers)
        others = num_frames * self.rows * self.other_tokens * sum(map(self._per_token, layers))
        return images - saved + self.rows * self.motion_modules * temporal + round(others)

    def _layers(self) -> Iterator[Layer]:
        return unet_layers(self.config, temporal_in_mid=bool(self.motion and self.motion.mid))

    def _outermost(self) -> Iterator[Layer]:
        """Yield the last layer of the decoder."""
        last = self.config["up_block_types"][-1]
        yield from list(self._layers())[-_kinds_of(last) :]

    def _pixels(self, level: int) -> int:
        """Return the pixels of a feature map; convolutions of stride 2 round up."""
        height, width = self.height, self.width
        for _ in range(level):
            height, width = -(-height // 2), -(-width // 2)
        return height * width

    @property
    def _time_width(self) -> int:
        return 4 * int(self.config["block_out_channels"][0])

    def _image_layer(self, layer: Layer) -> int:
        channels, pixels = layer.out_channels, self._pixels(layer.level)
        if layer.kind == "resnet":
            shortcut = _linear(layer.in_channels, channels) * pixels if layer.in_channels != channels else 0
            convolutions = (_conv3(layer.in_channels, channels) + _conv3(channels, channels)) * pixels
            return convolutions + shortcut + _linear(self._time_width, channels)
        if layer.kind == "spatial":
            projections = 2 * _linear(channels, channels) * pixels
            return projections + layer.depth * self._spatial_block(channels, pixels)
        pixels = self._pixels(layer.level + 1) if layer.kind == "downsampler" else pixels
        return _conv3(channels, channels) * pixels

    def _spatial_block(self, channels: int, pixels: int) -> int:
        to_text = 2 * _linear(channels, channels) * pixels + _attention(pixels, self.text_tokens, channels)
        return _self_attention(pixels, channels) + to_text + _feed_forward(channels) * pixels

    def _per_token(self, layer: Layer) -> int:
        """Count the cross-attentions of a layer to one token."""
        attention = _attention(self._pixels(layer.level), 1, layer.out_channels)
        return layer.depth * attention if layer.kind == "spatial" else 0

    def _temporal(self, layer: Layer, num_frames: int, windows: Sequence[int]) -> int:
        if layer.kind != "temporal" or self.motion is None:
            return 0
        channels, pixels = layer.out_channels, self._pixels(layer.level)
        attentions = self.motion.num_attentions
        mixed = sum(
            length * (_linear(channels, channels) + _feed_forward(channels))
            + attentions * _self_attention(length, channels)
            for length in windows
        )
        return pixels * (num_frames * _linear(channels, channels) + mixed)

    def _embedding(self) -> int:
        """Count the embedding of the timestep, and of the pooled prompt and sizes in SDXL."""
        first, hidden = int(self.config["block_out_channels"][0]), self._time_width
        added = self.config.get("projection_class_embeddings_input_dim") or 0
        pooled = _linear(added, hidden) + _linear(hidden, hidden) if added else 0
        return _linear(first, hidden) + _linear(hidden, hidden) + pooled

    def _ends(self) -> int:
        """Count the first convolution and the last; of a ControlNet the 1x1 convolutions of its outputs."""
        channels = int(self.config["block_out_channels"][0])
        if is_encoder(self.config):
            outputs = [layer for layer in self._layers() if layer.kind in ("resnet", "downsampler")]
            zero_convs = sum(
                _linear(one.out_channels, one.out_channels) * self._pixels(one.level + (one.kind == "downsampler"))
                for one in outputs[:-1]  # the middle block has two ResNets and one output
            )
            first = _conv3(self.config["in_channels"], channels) + _linear(channels, channels)
            return first * self._pixels(0) + zero_convs
        return (_conv3(self.config["in_channels"], channels) + _conv3(channels, self.config["out_channels"])) * (
            self._pixels(0)
        )

    def _before_text(self, is_deep: bool) -> int:
        """Count the layers that `shared_cfg` runs once for both rows, per frame."""
        if self.config.get("addition_embed_type") or "CrossAttn" not in self.config["down_block_types"][0]:
            return 0
        resnet, spatial = next(self._layers()), int(self.config["block_out_channels"][0])
        first = _conv3(self.config["in_channels"], spatial) * self._pixels(0)
        if not is_deep:
            return first
        return first + self._image_layer(resnet) + _self_attention(self._pixels(0), spatial)


def decoding_flops(config: Mapping[str, Any], height: int, width: int) -> int:
    """Count the decoding of one frame by a VAE (`AutoencoderKL`) from latents of this size."""
    latent, widths = config["latent_channels"], list(config["block_out_channels"])[::-1]
    pixels, channels = height * width, widths[0]
    total = _linear(latent, latent) * pixels if config.get("use_post_quant_conv", True) else 0
    total += (_conv3(latent, channels) + 4 * _conv3(channels, channels)) * pixels
    if config.get("mid_block_add_attention", True):
        total += _self_attention(pixels, channels)
    for level, width_out in enumerate(widths):
        for _ in range(config["layers_per_block"] + 1):
            total += (_conv3(channels, width_out) + _conv3(width_out, width_out)) * pixels
            total += _linear(channels, width_out) * pixels if channels != width_out else 0
            channels = width_out
        if level < len(widths) - 1:
            pixels *= 4
            total += _conv3(channels, channels) * pixels
    return total + _conv3(channels, config["out_channels"]) * pixels


def _kinds_of(block_type: str) -> int:
    """Count the layers that follow each other: ResNet, spatial and temporal transformer."""
    return 3 if "CrossAttn" in block_type else 2


def _linear(in_channels: int, out_channels: int) -> int:
    """Count a linear layer or 1x1 convolution, per token."""
    return 2 * in_channels * out_channels


def _conv3(in_channels: int, out_channels: int) -> int:
    return 9 * _linear(in_channels, out_channels)


def _attention(queries: int, keys: int, channels: int) -> int:
    return 2 * _linear(keys, channels) * queries


def _self_attention(tokens: int, channels: int) -> int:
    return 4 * _linear(channels, channels) * tokens + _attention(tokens, tokens, channels)


def _feed_forward(channels: int) -> int:
    """Count a GEGLU feed-forward, per token."""
    return _linear(channels, 8 * channels) + _linear(4 * channels, channels)
