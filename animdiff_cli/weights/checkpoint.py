"""Convert image models between a single file in the original layout and a diffusers folder."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from animdiff_cli.core.model_parts import BASES, NETWORKS
from animdiff_cli.errors import UsageError
from animdiff_cli.weights import ldm_clip, ldm_unet, ldm_vae
from animdiff_cli.weights.canonical import UNKNOWN, CanonicalWeights, ConvertedWeights, refuse_keys
from animdiff_cli.weights.checkpoint_folder import check_parts, layout_folder, part_tensors, recorded_configs
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.info import KIND_KEY, WeightsInfo
from animdiff_cli.weights.lazy import TORCH_NAMES, LazyTensor, torch_dtype, wrap_tensor
from animdiff_cli.weights.lora import LoraWeights
from animdiff_cli.weights.lora_merge import merge_loras
from animdiff_cli.weights.lora_names import Layout

#: (pattern of keys that rendering does not need, reason)
DROPS: tuple[tuple[str, str], ...] = (
    (r"model_ema\..*", "EMA weights of training"),
    (r".*\.embeddings\.position_ids", "position index, recomputed"),
    (r"(?:first_stage_model\.)?loss\..*", "discriminator of VAE training"),
    (r".*\blogit_scale", "temperature of CLIP training"),
    (r".*(?:betas|alphas_cumprod|alphas_cumprod_prev|posterior_\w+|lvlb_weights|denoiser\.sigmas)", "noise schedule"),
    (r".*(?:sqrt|log)_(?:one_minus|recip\w*)?_?alphas_cumprod\w*", "noise schedule"),
    (r"(?:global_step|epoch|model\.sigmas|.*num_batches_tracked)", "training counter"),
    (r"(?:v_pred|ztsnr|edm_vpred\.sigma_(?:min|max))", "prediction type, read when the model is opened"),
    (
        r"(?:logvar|scale_factor|embedding_manager\..*|(?:lr_)?scheduler\..*|optimizer.*|callbacks\..*)",
        "state of training",
    ),
    (r"(?:cond_stage_model\.transformer\.|text_encoder\.)vision_model\..*", "CLIP vision model"),
)
#: metadata key of the dtype of the position ids, which restores them
IDS_KEY = "animdiff.position_ids"
IDS_NAME = "text_model.embeddings.position_ids"
RESTORED = "position index, restored as in the source file"


def convert_checkpoint(
    file: WeightFile, info: WeightsInfo, target: Layout, loras: Sequence[LoraWeights] = ()
) -> ConvertedWeights:
    """Convert a model to one file (`original`) or a folder (`diffusers`), with `loras` merged."""
    if info.base not in BASES:
        raise UsageError(f"{file.path.name} is a {info.base} model, for which there are no motion modules")
    contents = read_checkpoint(file)
    check_parts(contents, info.base, file.path.name)
    if loras:
        contents = CanonicalWeights(merge_loras(contents.tensors, loras), contents.dropped, contents.metadata)
    if target == "diffusers":
        return layout_folder(contents, info.base, file.path.name)
    return _one_file(contents, info.base, file.path.name)


def convert_vae(
    file: WeightFile, info: WeightsInfo, target: Layout, loras: Sequence[LoraWeights] = ()
) -> ConvertedWeights:
    """Convert a VAE. `loras` is ignored."""
    levels = _levels(file)
    contents = _canonical(file, lambda key, tensor: _vae(_after(key, "first_stage_model.", "vae."), tensor, levels))
    tensors = {key.removeprefix("vae."): tensor for key, tensor in contents.tensors.items()}
    if target == "original":
        tensors = _original_vae(tensors, file.path.name)
    return ConvertedWeights({"": tensors}, dropped=contents.dropped, metadata=dict(file.metadata) | {KIND_KEY: "vae"})


def read_checkpoint(file: WeightFile, *, strict: bool = True) -> CanonicalWeights:
    """Read a model under canonical names. Unknown keys are left out, or refused with `IntegrityError` if `strict`."""
    if any("_orig_mod." in key for key in file.tensors):  # added by torch.compile
        file = replace(file, tensors={key.replace("_orig_mod.", ""): tensor for key, tensor in file.tensors.items()})
    if file.container == "diffusers folder":
        contents = _canonical(file, _from_folder, strict=strict)
        return CanonicalWeights(contents.tensors, contents.dropped, dict(file.metadata) | recorded_configs(file.path))
    layers = ldm_unet.layers_of_original(key.removeprefix("model.diffusion_model.") for key in file.tensors)
    levels = _levels(file)
    contents = _canonical(file, lambda key, tensor: _from_one_file(key, tensor, layers, levels), strict=strict)
    ids = next((t.dtype for key, t in file.tensors.items() if key.endswith(IDS_NAME)), None)
    return CanonicalWeights(contents.tensors, contents.dropped, dict(file.metadata) | ({IDS_KEY: ids} if ids else {}))


def _canonical(
    file: WeightFile, name: Callable[[str, LazyTensor], Mapping[str, LazyTensor]], *, strict: bool = True
) -> CanonicalWeights:
    tensors: dict[str, LazyTensor] = {}
    dropped: dict[str, str] = {}
    unknown = []
    for key, tensor in file.tensors.items():
        reason = next((reason for pattern, reason in DROPS if re.fullmatch(pattern, key)), None)
        found = name(key, tensor) if reason is None else {}
        tensors |= found
        if reason:
            dropped[key] = reason
        elif not found:
            unknown.append(key)
    if not strict:
        dropped |= dict.fromkeys(unknown, UNKNOWN)
    elif unknown:
        refuse_keys(unknown, file.path.name, UNKNOWN)
    return CanonicalWeights(tensors, dropped, file.metadata)


def _from_one_file(key: str, tensor: LazyTensor, layers: int, levels: int) -> dict[str, LazyTensor]:
    if key.startswith("model.diffusion_model."):
        name = ldm_unet.to_diffusers(key.removeprefix("model.diffusion_model."), layers)
        return {f"unet.{name}": tensor} if name else {}
    if key.startswith("first_stage_model."):
        return _vae(key.removeprefix("first_stage_model."), tensor, levels)
    if key.startswith(ldm_clip.OPEN_CLIP_PREFIX):
        found = ldm_clip.from_open_clip(key.removeprefix(ldm_clip.OPEN_CLIP_PREFIX), tensor)
        return {f"text_encoder_2.{name}": part for name, part in found.items()}
    for prefix in ldm_clip.PREFIX.values():
        if key.startswith(prefix):
            return {f"text_encoder.{ldm_clip.with_model_prefix(key.removeprefix(prefix))}": tensor}
    return {}


def _from_folder(key: str, tensor: LazyTensor) -> dict[str, LazyTensor]:
    part, _, name = key.partition(".")
    if part == "vae":
        name = ldm_vae.rename_old_attention(name)
        return {f"vae.{name}": ldm_vae.attention_shape(tensor, name, original=False)}
    if part.startswith("text_encoder"):
        return {f"{part}.{ldm_clip.with_model_prefix(name)}": tensor}
    return {key: tensor} if part == "unet" else {}


def _levels(file: WeightFile) -> int:
    return ldm_vae.decoder_levels(_after(key, "first_stage_model.", "vae.") for key in file.tensors)


def _vae(key: str, tensor: LazyTensor, levels: int) -> dict[str, LazyTensor]:
    renamed = ldm_vae.rename_old_attention(key)
    name = ldm_vae.to_diffusers(key, levels) or (renamed if ldm_vae.to_original(renamed, levels) else None)
    return {f"vae.{name}": ldm_vae.attention_shape(tensor, name, original=False)} if name else {}


def _one_file(contents: CanonicalWeights, base: str, source: str) -> ConvertedWeights:
    parts = {part: part_tensors(contents, part) for part in NETWORKS}
    tensors = {f"model.diffusion_model.{key}": t for key, t in _original_unet(parts["unet"], source).items()}
    tensors |= {f"first_stage_model.{key}": t for key, t in _original_vae(parts["vae"], source).items()}
    prefix = ldm_clip.PREFIX[base]
    tensors |= {prefix + key: tensor for key, tensor in parts["text_encoder"].items()}
    try:
        second = ldm_clip.to_open_clip(parts["text_encoder_2"])
    except KeyError as error:
        refuse_keys([str(error.args[0])], source, "not a weight of a CLIP text encoder")
    tensors |= {ldm_clip.OPEN_CLIP_PREFIX + key: tensor for key, tensor in second.items()}
    ids = _position_ids(contents, parts["text_encoder"], prefix)
    metadata = {key: value for key, value in contents.metadata.items() if key != IDS_KEY}
    return ConvertedWeights(
        {"": tensors | ids}, dict.fromkeys(ids, RESTORED), contents.dropped, metadata | {KIND_KEY: "base"}
    )


def _original_unet(tensors: Mapping[str, LazyTensor], source: str) -> dict[str, LazyTensor]:
    layers, attended = ldm_unet.layers_of_diffusers(tensors), ldm_unet.attended_levels(tensors)
    named = {key: ldm_unet.to_original(key, layers, attended) for key in tensors}
    return _renamed(tensors, named, source, "not a weight of a UNet")


def _original_vae(tensors: Mapping[str, LazyTensor], source: str) -> dict[str, LazyTensor]:
    levels = ldm_vae.decoder_levels(tensors)
    shaped = {key: ldm_vae.attention_shape(tensor, key, original=True) for key, tensor in tensors.items()}
    return _renamed(shaped, {key: ldm_vae.to_original(key, levels) for key in tensors}, source, "not a weight of a VAE")


def _renamed(
    tensors: Mapping[str, LazyTensor], named: Mapping[str, str | None], source: str, why: str
) -> dict[str, LazyTensor]:
    if unknown := [key for key, name in named.items() if name is None]:
        refuse_keys(unknown, source, why)
    return {name: tensors[key] for key, name in named.items() if name}


def _position_ids(contents: CanonicalWeights, encoder: Mapping[str, LazyTensor], prefix: str) -> dict[str, LazyTensor]:
    """Restore CLIP's position ids if the single file that the folder was made from had them."""
    dtype = contents.metadata.get(IDS_KEY)
    positions = encoder.get("text_model.embeddings.position_embedding.weight")
    if dtype not in TORCH_NAMES or positions is None:
        return {}
    return {prefix + IDS_NAME: wrap_tensor(torch.arange(positions.num_rows, dtype=torch_dtype(dtype))[None])}


def _after(key: str, *prefixes: str) -> str:
    prefix = next((prefix for prefix in prefixes if key.startswith(prefix)), "")
    return key.removeprefix(prefix)
