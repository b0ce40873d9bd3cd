"""Patches of an image model, applied before it renders: another VAE, LoRAs, a domain adapter, textual inversions.

The order is that of the official code: VAE, LoRAs, domain adapter, all merged into the weights. MotionLoRAs change
the motion module and are merged there (`motion/lora.py`). LoRAs whose scale is a curve are applied beside the weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animdiff_cli.core.choices import LoraAlphaMode
from animdiff_cli.core.model_parts import TOKENIZERS, networks_of
from animdiff_cli.diffusion.build import is_sdxl, part_config
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.embeddings import (
    Embedding,
    add_embeddings,
    bundled_embeddings,
    check_words,
    open_embedding,
)
from animdiff_cli.diffusion.source import open_model
from animdiff_cli.diffusion.vae import VaeFile, load_vae, open_vae
from animdiff_cli.errors import UsageError
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.kind_checks import open_kind
from animdiff_cli.weights.kind_readers import TEXT_WIDTHS
from animdiff_cli.weights.lora import CheckedLora, LoraWeights, Shapes, check_lora, open_lora
from animdiff_cli.weights.lora_beside import ScheduledLora, split_scheduled
from animdiff_cli.weights.model_configs import shipped_config
from animdiff_cli.weights.scaled import ScaledWeights


@dataclass(frozen=True, slots=True)
class ModelPatches:
    """All patches of one image model, opened and checked; weights are not read yet."""

    loras: tuple[LoraWeights, ...] = ()  # in order of application
    scheduled: tuple[ScheduledLora, ...] = ()  # applied beside the weights
    vae: VaeFile | None = None
    embeddings: tuple[Embedding, ...] = ()
    notes: tuple[str, ...] = ()  # for the user


def open_patches(
    model: Path,
    *,
    vae: Path | None = None,
    loras: tuple[ScaledWeights, ...] = (),
    domain_adapter: ScaledWeights | None = None,
    embeddings: tuple[Path, ...] = (),
    alpha_mode: LoraAlphaMode = "alpha",
) -> ModelPatches:
    """Open all patches and check kinds, names and shapes against `model`.

    Raises `UsageError` for a file of another kind or that does not fit, `IntegrityError` for a damaged one.
    """
    base = model_base(model)
    shapes = model_shapes(model) if loras or domain_adapter else {}
    files = [open_kind(lora.path, "lora", base=base, model=model)[0] for lora in loras]
    checked = [
        check_lora(open_lora(file, alpha_mode=alpha_mode, strict=False), shapes, f"the image model {model.name}")
        for file in files
    ]
    scales = [lora.scale for lora in loras]
    if domain_adapter:
        checked.append(_open_adapter(domain_adapter.path, shapes, base, model, alpha_mode))
        scales.append(domain_adapter.scale)
    merged, scheduled = split_scheduled(zip((one.lora for one in checked), scales, strict=True))
    opened, repeated = _open_embeddings(embeddings, files, base, model)
    return ModelPatches(
        loras=merged,
        scheduled=scheduled,
        vae=open_vae(vae, _own_vae(model), base, model) if vae else None,
        embeddings=opened,
        notes=(*open_model(model).notes, *(one.note for one in checked if one.note), *repeated),
    )


def apply_patches(parts: dict[str, Any], patches: ModelPatches, plan: DevicePlan) -> None:
    """Add the new VAE and embeddings to the loaded parts of a model. LoRAs are merged by `load_components`."""
    if patches.vae:
        parts["vae"] = load_vae(patches.vae, plan, "sdxl" if "text_encoder_2" in parts else "sd15")
    if patches.embeddings:
        for part, tokenizer in TOKENIZERS.items():
            if part in parts:
                add_embeddings(parts[tokenizer], parts[part], patches.embeddings, part)


def model_base(model: Path) -> str | None:
    """Return a model's base by the width of its cross-attention; None for miniatures."""
    return TEXT_WIDTHS.get(part_config(model, "unet").get("cross_attention_dim", 0))


def model_shapes(model: Path) -> Shapes:
    """Return the shape of every weight of a model by canonical name."""
    return {name: tensor.shape for name, tensor in open_model(model).contents.tensors.items()}


def _open_embeddings(
    paths: Sequence[Path], loras: Sequence[WeightFile], base: str | None, model: Path
) -> tuple[tuple[Embedding, ...], list[str]]:
    """Open the given textual inversions, and those inside LoRA files unless their word is taken, with a note if so."""
    if not paths and not loras:
        return (), []
    widths = {part: part_config(model, part).get("hidden_size", 0) for part in _encoders(model)}
    opened, notes = [open_embedding(path, widths, base, model) for path in paths], []
    check_words(opened)
    for file in loras:
        for embedding in bundled_embeddings(file, widths, model):
            if {word.lower() for one in opened for word in one.words}.isdisjoint(map(str.lower, embedding.words)):
                opened.append(embedding)
            else:
                taken = f"its textual inversion `{embedding.word}` is left out because another file has the word"
                notes.append(f"{file.path.name}: {taken}")
    return tuple(opened), notes


def _open_adapter(path: Path, shapes: Shapes, base: str | None, model: Path, alpha_mode: LoraAlphaMode) -> CheckedLora:
    """Open a domain adapter. In a converted layout it cannot be distinguished from a LoRA of the UNet's attentions."""
    file, _ = open_kind(path, "domain-adapter", also=("lora",), base=base, model=model)
    opened = open_lora(file, alpha_mode=alpha_mode, strict=False)
    if strange := [module for module in opened.modules if not _is_attention(module)]:
        raise UsageError(
            f"{path.name} is a LoRA, not a domain adapter: it changes `{strange[0]}`, an adapter only the"
            " attentions of the UNet",
            hint=f"use it as `--lora {path}`",
        )
    return check_lora(opened, shapes, f"the image model {model.name}")


def _is_attention(module: str) -> bool:
    return module.startswith("unet.") and (".attn1." in module or ".attn2." in module)


def _encoders(model: Path) -> list[str]:
    return [part for part in networks_of("sdxl" if is_sdxl(model) else "sd15") if part in TOKENIZERS]


def _own_vae(model: Path) -> Mapping[str, Any]:
    """Return the config of a model's own VAE, or that of its base if it has none."""
    source = open_model(model)
    return source.config("vae") if source.tensors("vae") else shipped_config(source.base, "vae")
