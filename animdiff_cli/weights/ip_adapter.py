"""IP-Adapters: which network a file holds, the names and shapes of its weights, and the image encoder it needs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.weights.canonical import refuse_keys
from animdiff_cli.weights.completeness import check_part
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.lazy import LazyTensor, is_float

#: `plain` also of the light version, `plus` also of plus-face, `full` of full-face
Variant = Literal["plain", "plus", "full"]

PROJECTION, LAYERS = "image_proj.", "ip_adapter."
#: original name of the projection of a picture → diffusers' name; in order
_RENAMES: Mapping[Variant, tuple[tuple[str, str], ...]] = {
    "plain": ((r"^proj\.", "image_embeds."),),
    "full": ((r"^proj\.0\.", "ff.net.0.proj."), (r"^proj\.2\.", "ff.net.2."), (r"^proj\.3\.", "norm.")),
    "plus": (
        (r"^layers\.(\d+)\.0\.norm1\.", r"layers.\1.ln0."),
        (r"^layers\.(\d+)\.0\.norm2\.", r"layers.\1.ln1."),
        (r"^layers\.(\d+)\.0\.to_out\.", r"layers.\1.attn.to_out.0."),
        (r"^layers\.(\d+)\.0\.to_", r"layers.\1.attn.to_"),
        (r"^layers\.(\d+)\.1\.0\.", r"layers.\1.ff.0."),
        (r"^layers\.(\d+)\.1\.1\.", r"layers.\1.ff.1.net.0.proj."),
        (r"^layers\.(\d+)\.1\.3\.", r"layers.\1.ff.1.net.2."),
    ),
}
#: original names of the weights whose shapes tell the sizes of the projection
_SIZES: Mapping[Variant, tuple[str, ...]] = {
    "plain": ("proj.weight", "norm.weight"),
    "full": ("proj.0.weight", "proj.3.weight"),
    "plus": ("latents", "proj_in.weight", "proj_out.weight", "layers.0.0.to_q.weight"),
}
HEAD_WIDTH = 64  # of the attention in plus


@dataclass(frozen=True, slots=True)
class IpAdapterWeights:
    """The weights of an IP-Adapter. Tensors are not read yet."""

    variant: Variant
    config: Mapping[str, Any]  # sizes of the projection, as its network takes them
    projection: Mapping[str, LazyTensor]  # under diffusers' names
    keys: Sequence[LazyTensor]  # to_k of each cross-attention, in the order of the UNet: [inner, D]
    values: Sequence[LazyTensor]

    @property
    def input_width(self) -> int:
        """Width of what the image encoder returns for a picture."""
        return int(self.config["input_width"])

    @property
    def token_width(self) -> int:
        """Width of a token, which is that of the text embeddings of the image model."""
        return int(self.config["token_width"])


def is_face_id(file: WeightFile) -> bool:
    """Return whether an IP-Adapter takes embeddings of faces from another network, instead of pictures."""
    names = _projection(file)
    perceiver = any(name.startswith("perceiver_resampler.") for name in names)
    return perceiver or ("proj.2.weight" in names and "proj.3.weight" not in names)


def read_ip_adapter(file: WeightFile) -> IpAdapterWeights:
    """Read an IP-Adapter. Raises `UsageError` for FaceID, `IntegrityError` for missing or unknown weights."""
    name = file.path.name
    if is_face_id(file):
        raise UsageError(
            f"{name} is an IP-Adapter FaceID, which needs face embeddings of the package insightface: not supported",
            hint="use an adapter that sees the whole picture: `ip-adapter-plus-face`",
        )
    if other := [key for key in file.tensors if not key.startswith((PROJECTION, LAYERS))]:
        refuse_keys(other, name, "not a weight of an IP-Adapter")
    variant = variant_of(file)
    if variant is None:
        raise IntegrityError(f"{name} lacks weights of its projection of pictures", hint="get the IP-Adapter again")
    config, projection = sizes_of(variant, file), _renamed(variant, _projection(file))
    check_part("image_projection", projection, config, name)
    keys, values = _layers(file)
    return IpAdapterWeights(variant, config, projection, keys, values)


def variant_of(file: WeightFile) -> Variant | None:
    """Return the kind of projection; None if weights that tell its sizes are missing."""
    names = _projection(file)
    return next((variant for variant, needed in _SIZES.items() if all(name in names for name in needed)), None)


def sizes_of(variant: Variant, file: WeightFile) -> dict[str, Any]:
    """Derive the sizes of the projection from shapes."""
    original = _projection(file)
    if variant == "plain":
        rows, width = original["proj.weight"].shape
        tokens = original["norm.weight"].shape[0]
        return {"variant": variant, "input_width": width, "token_width": tokens, "num_tokens": rows // tokens}
    if variant == "full":
        width = original["proj.0.weight"].shape[0]
        return {"variant": variant, "input_width": width, "token_width": original["proj.3.weight"].shape[0]}
    depth = {match[1] for name in original if (match := re.match(r"layers\.(\d+)\.", name))}
    return {
        "variant": variant,
        "input_width": original["proj_in.weight"].shape[1],
        "token_width": original["proj_out.weight"].shape[0],
        "num_tokens": original["latents"].shape[1],
        "width": original["latents"].shape[2],
        "num_hidden_layers": len(depth),
        "heads": original["layers.0.0.to_q.weight"].shape[0] // HEAD_WIDTH,
    }


def _projection(file: WeightFile) -> dict[str, LazyTensor]:
    return {key.removeprefix(PROJECTION): value for key, value in file.tensors.items() if key.startswith(PROJECTION)}


def _renamed(variant: Variant, original: Mapping[str, LazyTensor]) -> Mapping[str, LazyTensor]:
    renamed = {}
    for name, tensor in original.items():
        for pattern, ours in _RENAMES[variant]:
            name = re.sub(pattern, ours, name)
        if ".to_kv." in name:  # keys and values in one matrix
            half = tensor.num_rows // 2
            renamed[name.replace("to_kv", "to_k")] = tensor.slice(0, half)
            renamed[name.replace("to_kv", "to_v")] = tensor.slice(half, 2 * half)
        else:
            renamed[name] = tensor
    return renamed


def _layers(file: WeightFile) -> tuple[list[LazyTensor], list[LazyTensor]]:
    """Return keys and values of the cross-attentions by their odd numbers. Raises `IntegrityError`."""
    found: dict[tuple[int, str], LazyTensor] = {}
    unknown = []
    for key, tensor in file.tensors.items():
        if not key.startswith(LAYERS):
            continue
        match = re.fullmatch(r"ip_adapter\.(\d+)\.to_([kv])_ip\.weight", key)
        if match is None or len(tensor.shape) != 2 or not is_float(tensor.dtype):
            unknown.append(key)
        else:
            found[int(match[1]), match[2]] = tensor
    if unknown:
        refuse_keys(unknown, file.path.name, "not a weight of an IP-Adapter")
    numbers = sorted({number for number, _ in found})
    for number in numbers:
        both = [found[number, role].shape for role in "kv" if (number, role) in found]
        if len(both) < 2 or both[0] != both[1]:
            raise IntegrityError(
                f"{file.path.name}: `{LAYERS}{number}` lacks keys or values of one shape",
                hint="get the IP-Adapter again",
            )
    return [found[number, "k"] for number in numbers], [found[number, "v"] for number in numbers]
