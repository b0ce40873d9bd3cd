"""The bundle: a diffusers folder and a motion module in the official key layout, float16, each with its recipe."""

import json
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from animdiff_cli.weights.info import BASE_KEY
from tools.pocket.architecture import build_scheduler, build_vae
from tools.pocket.card import model_card
from tools.pocket.data import DATA_SEED
from tools.pocket.loop import Trained
from tools.pocket.recipe import trained_motion
from tools.pocket.workspace import Workspace
from tools.pocket.world import VERSION

MOTION_FILE = "motion_module.safetensors"

#: Stages that train each weight file.
MADE_BY = {
    "vae/diffusion_pytorch_model.safetensors": ("vae", "decoder"),
    "unet/diffusion_pytorch_model.safetensors": ("image",),
    "text_encoder/model.safetensors": ("image",),
    MOTION_FILE: ("motion",),
}


def save_bundle(workspace: Workspace, out: Path) -> None:
    """Write the trained parts to `out`: only the image model if the motion stage has not begun."""
    image_pipeline(workspace).save_pretrained(out)
    if workspace.file("motion").exists():
        motion = trained_motion(workspace).half()
        save_file({name: tensor.contiguous() for name, tensor in motion.state_dict().items()}, out / MOTION_FILE)
    recipes = {file: _recipe(workspace, stages) for file, stages in MADE_BY.items() if (out / file).exists()}
    for file, recipe in recipes.items():
        _stamp(out / file, recipe)
    (out / "README.md").write_text(model_card(recipes))


def image_pipeline(workspace: Workspace) -> StableDiffusionPipeline:
    """Assemble the trained image model in float16 on the CPU."""
    unet, text_encoder = workspace.image_model()
    trained_vae = workspace.vae()
    # built again, because the config is saved too and cannot be changed in place
    vae = build_vae(workspace.architecture, scaling_factor=1.0)
    vae.load_state_dict(trained_vae.state_dict())
    for module in (unet, text_encoder, vae):
        _check_finite(module.half())
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=workspace.tokenizer(),
        unet=unet,
        scheduler=build_scheduler(motion=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def read_recipe(file: Path) -> dict[str, object]:
    """Read the training metadata of a weight file."""
    with safe_open(file, framework="pt") as opened:
        return json.loads(opened.metadata()["recipe"])


def _recipe(workspace: Workspace, stages: tuple[str, ...]) -> dict[str, object]:
    return {
        "stages": [facts(workspace.trained(stage)) for stage in stages],
        "clips": sum(len(chunk.captions()) for chunk in workspace.chunks()),
        "data_seed": DATA_SEED,
        "world_version": VERSION,
        "device": workspace.device.type,
        "license": "Apache-2.0",
    }


def facts(trained: Trained) -> dict[str, object]:
    """Return how a stage was trained, for the metadata of weight files."""
    return {
        "stage": trained.stage,
        "steps": trained.step,
        "minutes": round(trained.elapsed_s / 60, 2),
        "batch": int(trained.facts["batch"]),
        "learning_rate": trained.facts["peak_lr"],
        "final_loss": round(trained.loss, 5),
    }


def stamp_stages(file: Path, *stages: Trained) -> None:
    """Put how a finished file was trained into its metadata."""
    recipe = {"stages": [facts(stage) for stage in stages], "world_version": VERSION}
    metadata = {"format": "pt", "license": "Apache-2.0", "recipe": json.dumps(recipe), BASE_KEY: "pocket"}
    write_weights(file, load_file(file), metadata)


def _stamp(file: Path, recipe: dict[str, object]) -> None:
    write_weights(file, load_file(file), {"format": "pt", "license": "Apache-2.0", "recipe": json.dumps(recipe)})


def write_weights(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a weight file atomically, readable by everyone."""
    partial = file.with_suffix(".part")
    save_file(tensors, partial, metadata=metadata)
    partial.chmod(0o644)  # safetensors creates files that only their owner can read
    partial.replace(file)


def _check_finite(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ValueError(f"`{name}` does not fit float16, or training diverged")
