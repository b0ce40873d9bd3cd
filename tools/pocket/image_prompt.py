"""`python -m tools.pocket image-prompt`: train an IP-Adapter and its image encoder. The same command resumes."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.embeddings import ImageProjection
from torch import Tensor
from transformers import CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from animdiff_cli.diffusion.device import probe_machine
from animdiff_cli.files.atomic import atomic_write
from animdiff_cli.paths import pocket_dir
from animdiff_cli.training.objective import STILL_BETAS, alphas_cumprod
from tools.pocket.command import report, run_training, tell, training_parser
from tools.pocket.control import quiet, reporter
from tools.pocket.data import Chunk, render_clips
from tools.pocket.encoder import pixels
from tools.pocket.labelled import SIDE, Labelled, draw_labelled
from tools.pocket.latents import prepare_clips, tokenize
from tools.pocket.loop import Budget, Trained, load_trained, train
from tools.pocket.optimiser import load_weights
from tools.pocket.save import stamp_stages, write_weights
from tools.pocket.stages.image_prompt import Pictured, ReadingStage, TokenStage, picture_layers
from tools.pocket.tokenizer import load_tokenizer
from tools.pocket.world import COLOURS, OBJECTS, PLACES

SEED = 52
TOKENS_BATCH, TOKENS_LR = 64, 1e-3
READING_BATCH, READING_LR = 16, 3e-4
HELD_OUT_CLIPS, CLIPS = 60, 640
#: share of the time for the encoder alone
TOKENS_TIME = 0.4
#: tokens of a picture, and the position of the first of them in "a red ball": colour, object, end, padding
NUM_TOKENS, FIRST_TOKEN = 4, 2
ENCODER = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 4}
EMBEDDING, PATCH = 128, 8
FILE, FOLDER = "ip-adapter_pocket.safetensors", "image_encoder"


def main(argv: Sequence[str]) -> int:
    """Train for the given minutes, write the folder, and print it; return the exit status."""
    return run_training(run, _parser().parse_args(argv))


def run(arguments: argparse.Namespace) -> Trained:
    """Draw the data if there is none, train the encoder and then the adapter, and write the averaged weights."""
    quiet()
    work, device = arguments.work, torch.device(arguments.device)
    work.mkdir(parents=True, exist_ok=True)
    stop_at, seconds = time.monotonic() + arguments.stop_after * 60, arguments.minutes * 60

    chunks = render_clips(work / "data", num_clips=arguments.clips, seconds=float("inf"))
    tokens = token_stage(labelled_frames(chunks), arguments.tokens_batch)
    budget = Budget(seconds * TOKENS_TIME, stop_at)
    trained = train(tokens, budget, work / "tokens.pt", report)
    if not trained.complete:
        return trained
    load_weights(tokens.encoder, "encoder", trained.weights)
    load_weights(tokens.projection, "projection", trained.weights)
    held_out = draw_labelled(HELD_OUT_CLIPS, np.random.default_rng(SEED + 1))
    found = tokens.accuracy(pixels(held_out.images), torch.from_numpy(held_out.labels[:, :2]))
    tell(f"of pictures that it has not seen, object {found[0]:.1%} right, colour {found[1]:.1%}")
    stage = reading_stage(tokens, picture_frames(tokens.encoder, chunks, work), device, arguments.batch)
    trained = train(stage, Budget(seconds * (1 - TOKENS_TIME), stop_at), work / "reading.pt", reporter(stage))
    load_weights(stage.projection, "projection", trained.weights)
    load_weights(stage.layers, "layers", trained.weights)
    save(stage, tokens.encoder, arguments.out, load_trained(work / "tokens.pt"), trained)
    return trained


def token_stage(data: Labelled, batch: int = TOKENS_BATCH) -> TokenStage:
    """Build the encoder and the projection, and the features of words that they are to predict."""
    torch.manual_seed(SEED)
    config = CLIPVisionConfig(**ENCODER, image_size=SIDE, patch_size=PATCH, projection_dim=EMBEDDING)
    encoder = CLIPVisionModelWithProjection(config)
    text_encoder = CLIPTextModel.from_pretrained(pocket_dir() / "text_encoder").float()
    projection = ImageProjection(EMBEDDING, text_encoder.config.hidden_size, NUM_TOKENS)
    norm = getattr(text_encoder, "text_model", text_encoder).final_layer_norm
    projection.norm.load_state_dict(norm.state_dict())
    words, no_words = word_features(text_encoder)
    labels = torch.from_numpy(data.labels[:, :2])
    generator = torch.Generator().manual_seed(SEED)
    pictures = pixels(data.images).half()
    return TokenStage(encoder, projection, pictures, labels, words, no_words, generator, batch, TOKENS_LR)


def labelled_frames(chunks: Sequence[Chunk]) -> Labelled:
    """Shrink all frames of the clips to the size of the encoder, with the object and colour that a caption names."""
    words = [set(caption[0].replace(",", "").split()) for chunk in chunks for caption in chunk.captions()]
    labels = [
        tuple(next(i for i, name in enumerate(names) if name in said) for names in (OBJECTS, COLOURS)) for said in words
    ]
    images = np.concatenate([_small(chunk.frames()) for chunk in chunks])
    return Labelled(images, np.repeat(np.array(labels), len(images) // len(labels), axis=0))


@torch.no_grad()
def word_features(text_encoder: CLIPTextModel) -> tuple[Tensor, Tensor]:
    """Return the features of "a COLOUR OBJECT" from its colour on, [objects, colours, L, D], and of no words."""
    tokenizer = load_tokenizer(pocket_dir() / "tokenizer")
    texts = [f"a {colour} {kind}" for kind in OBJECTS for colour in COLOURS]
    features = text_encoder(tokenize(tokenizer, [*texts, ""]))[0]
    words = features[:-1, FIRST_TOKEN : FIRST_TOKEN + NUM_TOKENS].unflatten(0, (len(OBJECTS), len(COLOURS)))
    return words, features[-1, 1 : 1 + NUM_TOKENS]


@torch.no_grad()
def picture_frames(encoder: CLIPVisionModelWithProjection, chunks: Sequence[Chunk], work: Path) -> Pictured:
    """Embed every frame of the clips as a picture, and caption the clips by their places alone."""
    tokenizer = load_tokenizer(pocket_dir() / "tokenizer")
    vae = AutoencoderKL.from_pretrained(pocket_dir() / "vae").to(torch.bfloat16)
    clips = prepare_clips(chunks, vae, tokenizer, work / "clip_latents.pt")
    embeds, places = [], []
    for chunk in chunks:
        frames = chunk.frames()
        parts = [encoder(part).image_embeds for part in pixels(_small(frames)).split(64)]
        embeds.append(torch.cat(parts).unflatten(0, frames.shape[:2]))
        places += [next(place for place in PLACES if place in wordings[0]) for wordings in chunk.captions()]
    rng = np.random.default_rng(SEED)
    texts = [f"a drawing {place}" if rng.random() < 0.5 else place for place in places]
    return Pictured(clips.latents, torch.cat(embeds), tokenize(tokenizer, texts), clips.no_words)


def reading_stage(tokens: TokenStage, data: Pictured, device: torch.device, batch: int = READING_BATCH) -> ReadingStage:
    """Build the frozen image model and the layers that read pictures beside its text."""
    dtype = torch.bfloat16 if device.type == "cuda" or probe_machine().cpu_bf16 else torch.float32
    unet = UNet2DConditionModel.from_pretrained(pocket_dir() / "unet").requires_grad_(False)
    text_encoder = CLIPTextModel.from_pretrained(pocket_dir() / "text_encoder").requires_grad_(False)
    layers = picture_layers(unet.float())
    for network in (tokens.projection, layers, unet, text_encoder):
        network.to(device, dtype)
    generator = torch.Generator(device).manual_seed(SEED)
    parts = (part.to(device) for part in (data.latents, data.embeds, data.places, data.no_words))
    alphas = alphas_cumprod(STILL_BETAS, device)
    return ReadingStage(
        tokens.projection, layers, unet, text_encoder, Pictured(*parts), alphas, generator, batch, READING_LR
    )


def save(
    stage: ReadingStage, encoder: CLIPVisionModelWithProjection, folder: Path, first: Trained, second: Trained
) -> None:
    """Write the adapter, in the layout of the published files, and the folder of its image encoder, in float16."""
    tensors = {
        f"image_proj.{name.replace('image_embeds', 'proj')}": tensor
        for name, tensor in stage.projection.state_dict().items()
    }
    for number, pair in enumerate(stage.layers):
        for role, layer in zip("kv", pair, strict=True):
            tensors[f"ip_adapter.{2 * number + 1}.to_{role}_ip.weight"] = layer.weight.detach()
    with atomic_write(folder) as unfinished:
        unfinished.mkdir(parents=True)
        write_weights(unfinished / FILE, {name: t.cpu().half().contiguous() for name, t in tensors.items()}, {})
        stamp_stages(unfinished / FILE, second)
        encoder.half().save_pretrained(unfinished / FOLDER)
        stamp_stages(unfinished / FOLDER / "model.safetensors", first)


def _small(frames: np.ndarray) -> np.ndarray:
    """Shrink clips uint8 [N, F, H, W, 3] to frames [N*F, side, side, 3]."""
    step = frames.shape[2] // SIDE
    return frames.reshape(-1, SIDE, step, SIDE, step, 3).mean((2, 4)).astype(np.uint8)


def _parser() -> argparse.ArgumentParser:
    parser = training_parser("image-prompt", __doc__, out="folder to write", work="training state and drawn pictures")
    parser.add_argument("--device", default="cpu", help="of the second stage: cpu or cuda (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=CLIPS, help="clips to draw pictures from (default: %(default)s)")
    parser.add_argument("--tokens-batch", type=int, default=TOKENS_BATCH, help="pictures per step of the first stage")
    parser.add_argument("--batch", type=int, default=READING_BATCH, help="frames per step of the second stage")
    return parser
