"""An IP-Adapter: first its tokens of a picture become like those of words, then the UNet learns to read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import ImageProjection
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPVisionModelWithProjection

from animdiff_cli.diffusion.cross_attention import PictureKeys, ShownPictures, by_head, cross_attentions, with_pictures
from animdiff_cli.diffusion.frame_texts import Mix
from animdiff_cli.training.objective import add_noise
from tools.pocket.stages.control import draw_timesteps, weighted_mse
from tools.pocket.stages.gain import ConditionStage
from tools.pocket.stages.noise import draw_noise

#: share of samples without a picture, and of those with a picture that have no text
NO_PICTURE, NO_TEXT = 0.1, 0.5


@dataclass
class TokenStage:
    """Predict from a picture what the text encoder makes of the words for its object and colour.

    `words` holds those features for every pair of object and colour, `no_words` those of the empty prompt, which belong
    to an embedding of zeros. Two heads that name object and colour make the encoder learn faster; they are dropped.
    """

    encoder: CLIPVisionModelWithProjection
    projection: ImageProjection
    pictures: Tensor  # float [N, 3, side, side], prepared as for CLIP
    labels: Tensor  # int64 [N, 2], object and colour
    words: Tensor  # [objects, colours, L, D]
    no_words: Tensor  # [L, D]
    generator: torch.Generator
    batch: int
    peak_lr: float
    ema_decay: float = 0.99
    name: str = "tokens"

    def __post_init__(self) -> None:
        width = self.encoder.config.projection_dim
        self.heads = nn.ModuleList(nn.Linear(width, count) for count in self.words.shape[:2])

    def modules(self) -> Mapping[str, nn.Module]:
        return {"encoder": self.encoder, "projection": self.projection, "heads": self.heads}

    def draw(self) -> tuple[Tensor, ...]:
        """Draw pictures [B, 3, side, side] and labels [B, 2]."""
        chosen = torch.randint(len(self.pictures), (self.batch,), generator=self.generator)
        return moved(self.pictures[chosen].float(), self.generator), self.labels[chosen]

    def loss(self, pictures: Tensor, labels: Tensor) -> Tensor:
        embeds = self.encoder(pictures).image_embeds
        named = sum(F.cross_entropy(head(embeds), labels[:, which]) for which, head in enumerate(self.heads))
        wanted = torch.cat([self.words[labels[:, 0], labels[:, 1]], self.no_words[None]])
        tokens = self.projection(torch.cat([embeds, torch.zeros_like(embeds[:1])]))
        return F.mse_loss(tokens, wanted) + 0.3 * named

    @torch.no_grad()
    def accuracy(self, pictures: Tensor, labels: Tensor) -> list[float]:
        """Return the shares of pictures whose tokens are nearest to those of their object and of their colour."""
        tokens = self.projection(self.encoder(pictures.float()).image_embeds)
        nearest = torch.cdist(tokens.flatten(1), self.words.flatten(0, 1).flatten(1)).argmin(dim=1)
        found = torch.stack([nearest // self.words.shape[1], nearest % self.words.shape[1]], dim=1)
        return (found == labels).float().mean(dim=0).tolist()


@dataclass(frozen=True, slots=True)
class Pictured:
    """Frames of clips, with the embeddings of all frames as pictures."""

    latents: Tensor  # [N, F, 4, h, w], scaled as for the UNet
    embeds: Tensor  # float32 [N, F, E]
    places: Tensor  # int64 [N, 77], a caption that names the place only
    no_words: Tensor  # int64 [77], the empty prompt


@dataclass
class ReadingStage(ConditionStage):
    """Predict the noise on a frame with another frame of its clip as picture; the text names the place or nothing.

    The projection and the keys and values of pictures in each cross-attention are trained.
    """

    projection: ImageProjection
    layers: nn.ModuleList  # of keys and values, in the order of the UNet: [Linear, Linear] for each cross-attention
    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    data: Pictured
    alphas_cumprod: Tensor  # [1000]
    generator: torch.Generator
    batch: int
    peak_lr: float
    ema_decay: float = 0.99
    warmup_steps: int = 50
    name: str = "reading"
    faster: Mapping[str, float] = field(default_factory=dict)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"projection": self.projection, "layers": self.layers}

    def draw(self) -> tuple[Tensor, ...]:
        """Draw noisy frames [B, 4, h, w], timesteps [B], token ids [B, 77], embeddings [B, E] and noise."""
        device, generator = self.alphas_cumprod.device, self.generator
        count, frames = self.data.latents.shape[:2]
        clip = torch.randint(count, (self.batch,), generator=generator, device=device)
        drawn, shown = torch.randint(frames, (2, self.batch), generator=generator, device=device)
        chances = torch.rand(2, self.batch, generator=generator, device=device)
        timestep = draw_timesteps(self.batch, len(self.alphas_cumprod), generator)
        latents = self.data.latents[clip, drawn].float()
        noise = draw_noise(latents, generator)
        noisy = add_noise(latents, noise, self.alphas_cumprod[timestep])
        words = torch.where((chances[0] < NO_TEXT)[:, None], self.data.no_words, self.data.places[clip])
        embeds = self.data.embeds[clip, shown] * (chances[1] >= NO_PICTURE)[:, None]
        dtype = self.unet.dtype
        return noisy.to(dtype), timestep, words, embeds.to(dtype), noise

    def loss(self, noisy: Tensor, timestep: Tensor, words: Tensor, embeds: Tensor, noise: Tensor) -> Tensor:
        with torch.no_grad():
            text = self.text_encoder(words)[0]
        with with_pictures(self.unet, self.keys(self.projection(embeds))):
            predicted = self.unet(noisy, timestep, encoder_hidden_states=text).sample
        return weighted_mse(predicted, noise, self.alphas_cumprod[timestep])

    def loss_without(self, noisy: Tensor, timestep: Tensor, words: Tensor, embeds: Tensor, noise: Tensor) -> Tensor:
        predicted = self.unet(noisy, timestep, encoder_hidden_states=self.text_encoder(words)[0]).sample
        return weighted_mse(predicted, noise, self.alphas_cumprod[timestep])

    def keys(self, tokens: Tensor) -> Sequence[PictureKeys]:
        """Return keys and values of tokens [B, L, D] for each cross-attention."""
        each = torch.arange(len(tokens), device=tokens.device)
        shown = ShownPictures(Mix(torch.stack([each, each]), _only_first(tokens)))
        return [
            PictureKeys(by_head(attn, to_key(tokens)), by_head(attn, to_value(tokens)), shown)
            for attn, (to_key, to_value) in zip(cross_attentions(self.unet), self.layers, strict=True)
        ]


def moved(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Shift, scale and mirror pictures [B, 3, h, w] at random, and add noise."""
    chances = torch.rand(4, len(pictures), generator=generator)
    scale = 0.8 + 0.4 * chances[0]
    mirror = torch.where(chances[1] < 0.5, -1.0, 1.0)
    zero = torch.zeros_like(scale)
    shift = 0.3 * (chances[2:] - 0.5)
    affine = torch.stack([scale * mirror, zero, shift[0], zero, scale, shift[1]], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(affine, list(pictures.shape), align_corners=False)
    drawn = F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
    return drawn + 0.1 * torch.randn(drawn.shape, generator=generator)


def picture_layers(unet: UNet2DConditionModel) -> nn.ModuleList:
    """Build keys and values of pictures that start as copies of those of the text."""
    layers = nn.ModuleList()
    for attention in cross_attentions(unet):
        pair = nn.ModuleList()
        for source in (attention.to_k, attention.to_v):
            copy = nn.Linear(source.in_features, source.out_features, bias=False)
            copy.load_state_dict({"weight": source.weight.detach().clone()})
            pair.append(copy)
        layers.append(pair)
    return layers


def _only_first(tokens: Tensor) -> Tensor:
    shares = tokens.new_zeros(2, len(tokens), 1)
    shares[0] = 1
    return shares
