"""Convert motion modules and SparseCtrl encoders between the original and diffusers layouts."""

import json
import re
from collections.abc import Callable, Mapping

from animdiff_cli.errors import IntegrityError
from animdiff_cli.weights import model_configs
from animdiff_cli.weights.canonical import CanonicalWeights, ConvertedWeights, refuse_keys
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.info import FRAMES_KEY, KIND_KEY, VERSION_KEY, WeightsInfo
from animdiff_cli.weights.lazy import FLOATS, LazyTensor
from animdiff_cli.weights.motion import SHARED_POSITION_SUFFIX, diffusers_name, is_position, official_name
from animdiff_cli.weights.motion_shapes import check_motion
from animdiff_cli.weights.motion_version import recorded_frames
from animdiff_cli.weights.positional_encoding import is_sinusoid, positional_encoding

#: metadata key of the dtype of a dropped positional encoding
POSITION_DTYPE_KEY = "animdiff.position_dtype"
CONV_IN = ("conv_in.weight", "conv_in.bias")
IMAGE_WEIGHT = "weight of the image model in a training checkpoint"
RECOMPUTED = "positional encoding: a fixed sinusoid, its length recorded in metadata"
REGENERATED = "positional encoding: a fixed sinusoid, computed from its length"
_POSITION = re.compile(r"(.+\.transformer_blocks\.\d+)\.(?:attn\d\.pos_encoder\.pe|pos_embed\.pe)")
_ATTENTION = re.compile(r"(.+\.transformer_blocks\.\d+)\.attn(\d)\.to_q\.weight")


def read_motion(file: WeightFile, info: WeightsInfo) -> CanonicalWeights:
    """Read a motion module or the one in a training checkpoint.

    Raises `IntegrityError` for missing and unknown weights.
    """
    is_training = any(".resnets." in key for key in file.tensors)
    contents = _read(file, info, others=() if is_training else CONV_IN)
    image_weights = {} if not is_training else {key: IMAGE_WEIGHT for key in file.tensors if not _is_motion(key)}
    check_motion(contents.tensors, file.path.name, attentions=2)
    unknown = file.tensors.keys() - image_weights.keys() - contents.dropped.keys()
    unknown = {key for key in unknown if not _is_motion(key) and _bare(key) not in CONV_IN}
    if unknown:
        refuse_keys(unknown, file.path.name, "not a motion-module weight")
    return CanonicalWeights(contents.tensors, {**image_weights, **contents.dropped}, contents.metadata)


def read_sparsectrl(file: WeightFile, info: WeightsInfo) -> CanonicalWeights:
    """Read a SparseCtrl encoder: an image ControlNet whose down blocks have motion modules with one attention."""
    contents = _read(file, info, others=tuple(_bare(key) for key in file.tensors if not _is_motion(key)))
    check_motion(contents.tensors, file.path.name, attentions=1, has_up_blocks=False)
    return contents


def motion_to_original(contents: CanonicalWeights, info: WeightsInfo) -> ConvertedWeights:
    """Convert to official names, with a computed positional encoding for every attention."""
    tensors: dict[str, LazyTensor] = {}
    for key, tensor in contents.tensors.items():
        bare = key.removeprefix("unet.")
        if shared := _POSITION.fullmatch(bare):
            tensors |= dict.fromkeys(_positions_of(shared[1], contents), tensor)
        else:
            tensors[official_name(bare) or bare] = tensor
    encodings = _encodings(contents, lambda stem: _positions_of(stem, contents))
    tensors = encodings | tensors
    return ConvertedWeights({"": tensors}, dict.fromkeys(encodings, REGENERATED), metadata=_metadata(contents, info))


def motion_to_diffusers(contents: CanonicalWeights, info: WeightsInfo) -> ConvertedWeights:
    """Convert to diffusers names, with the config of `MotionAdapter` or `SparseControlNetModel`."""
    encodings = _encodings(contents, lambda stem: [stem + SHARED_POSITION_SUFFIX])
    tensors = encodings | {key.removeprefix("unet."): tensor for key, tensor in contents.tensors.items()}
    metadata = _metadata(contents, info) | {"format": "pt"}
    frames = int(contents.metadata[FRAMES_KEY]) if FRAMES_KEY in contents.metadata else None
    describe = model_configs.sparsectrl if info.kind == "sparsectrl" else model_configs.motion_adapter
    config = json.dumps(describe(tensors, frames), indent=2).encode() + b"\n"
    return ConvertedWeights(
        {"": tensors}, dict.fromkeys(encodings, REGENERATED), metadata=metadata, configs={"config.json": config}
    )


def _read(file: WeightFile, info: WeightsInfo, others: tuple[str, ...]) -> CanonicalWeights:
    tensors: dict[str, LazyTensor] = {}
    dropped: dict[str, str] = {}
    facts = _recorded(file)
    lengths = {tensor.shape[-2] for key, tensor in file.tensors.items() if is_position(key) and len(tensor.shape) == 3}
    if len(lengths) > 1:
        raise IntegrityError(f"{file.path.name}: positional encodings of different lengths: {sorted(lengths)}")
    for key, tensor in file.tensors.items():
        bare = _bare(key)
        name = diffusers_name(bare)
        if name and (shared := _POSITION.fullmatch(name)):
            if is_sinusoid(tensor):
                dropped[key] = RECOMPUTED
                facts |= {FRAMES_KEY: str(tensor.shape[1]), POSITION_DTYPE_KEY: tensor.dtype}
            else:
                _add_learned_encoding(tensors, f"unet.{shared[1]}{SHARED_POSITION_SUFFIX}", tensor, key, file)
        elif name:
            tensors[f"unet.{name}"] = tensor
        elif bare in others:
            tensors[f"unet.{bare}"] = tensor
    return CanonicalWeights(tensors, dropped, facts)


def _recorded(file: WeightFile) -> dict[str, str]:
    """Return the recorded length and dtype of the positional encoding, where they are plausible."""
    frames, dtype = recorded_frames(file.metadata), file.metadata.get(POSITION_DTYPE_KEY, "")
    facts = {FRAMES_KEY: str(frames)} if frames else {}
    return facts | ({POSITION_DTYPE_KEY: dtype} if dtype in FLOATS.values() else {})


def _add_learned_encoding(
    tensors: dict[str, LazyTensor], name: str, tensor: LazyTensor, key: str, file: WeightFile
) -> None:
    """Keep an encoding that is not the sinusoid. diffusers has one per block, so its attentions must share it."""
    first = tensors.setdefault(name, tensor)
    if first is not tensor and not first.read().equal(tensor.read()):
        refuse_keys([key], file.path.name, "the positional encodings of the two attentions of a block differ")


def _encodings(contents: CanonicalWeights, names: Callable[[str], list[str]]) -> dict[str, LazyTensor]:
    """Compute the positional encoding of every transformer block; empty if the length is unknown."""
    frames = contents.metadata.get(FRAMES_KEY)
    dtype = contents.metadata.get(POSITION_DTYPE_KEY, "F32")
    blocks = _blocks(contents.tensors) if frames else {}
    return {
        name: positional_encoding(int(frames or 0), width, dtype)
        for stem, width in blocks.items()
        for name in names(stem)
    }


def _blocks(tensors: Mapping[str, LazyTensor]) -> dict[str, int]:
    """Return the width of each transformer block."""
    found = ((_ATTENTION.fullmatch(key.removeprefix("unet.")), tensor) for key, tensor in tensors.items())
    return {match[1]: tensor.num_rows for match, tensor in found if match and ".motion_modules." in match[1]}


def _positions_of(stem: str, contents: CanonicalWeights) -> list[str]:
    """Return the official names of the positional encodings of a block."""
    found = (_ATTENTION.fullmatch(key.removeprefix("unet.")) for key in contents.tensors)
    numbers = sorted(match[2] for match in found if match and match[1] == stem)
    names = (official_name(f"{stem}.attn{number}.pos_encoder.pe") for number in numbers)
    return [name for name in names if name]


def _metadata(contents: CanonicalWeights, info: WeightsInfo) -> dict[str, str]:
    version = {VERSION_KEY: info.version} if info.version and info.kind == "motion-module" else {}
    return {KIND_KEY: info.kind} | version | dict(contents.metadata)


def _is_motion(key: str) -> bool:
    return official_name(_bare(key)) is not None


def _bare(key: str) -> str:
    return key.removeprefix("module.")
