"""Motion modules and SparseCtrl encoders between the original's layout and diffusers'."""

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

#: number format of the position code in the file it was dropped from
POSITION_DTYPE_KEY = "animdiff.position_dtype"
CONV_IN = ("conv_in.weight", "conv_in.bias")
IMAGE_WEIGHT = "belongs to the image model of a training checkpoint"
RECOMPUTED = "position code: a fixed sinusoid, its length kept as metadata"
REGENERATED = "position code: a fixed sinusoid, computed from its length"
_POSITION = re.compile(r"(.+\.transformer_blocks\.\d+)\.(?:attn\d\.pos_encoder\.pe|pos_embed\.pe)")
_ATTENTION = re.compile(r"(.+\.transformer_blocks\.\d+)\.attn(\d)\.to_q\.weight")


def read_motion(file: WeightFile, info: WeightsInfo) -> CanonicalWeights:
    """Read a motion module, also out of a training checkpoint. Raises `IntegrityError` for gaps and strangers."""
    is_training = any(".resnets." in key for key in file.tensors)
    contents = _read(file, info, others=() if is_training else CONV_IN)
    left_behind = {} if not is_training else {key: IMAGE_WEIGHT for key in file.tensors if not _is_motion(key)}
    check_motion(contents.tensors, file.path.name, attentions=2)
    strangers = file.tensors.keys() - left_behind.keys() - contents.dropped.keys()
    strangers = {key for key in strangers if not _is_motion(key) and _bare(key) not in CONV_IN}
    if strangers:
        refuse_keys(strangers, file.path.name, "no motion-module weight")
    return CanonicalWeights(contents.tensors, {**left_behind, **contents.dropped}, contents.metadata)


def read_sparsectrl(file: WeightFile, info: WeightsInfo) -> CanonicalWeights:
    """Read a SparseCtrl encoder: an image ControlNet whose down blocks have motion modules of one attention."""
    contents = _read(file, info, others=tuple(_bare(key) for key in file.tensors if not _is_motion(key)))
    check_motion(contents.tensors, file.path.name, attentions=1, both_ways=False)
    return contents


def motion_to_original(contents: CanonicalWeights, info: WeightsInfo) -> ConvertedWeights:
    """Write official names, the position code of every attention computed anew from its length."""
    tensors: dict[str, LazyTensor] = {}
    for key, tensor in contents.tensors.items():
        bare = key.removeprefix("unet.")
        if shared := _POSITION.fullmatch(bare):
            tensors |= dict.fromkeys(_positions_of(shared[1], contents), tensor)
        else:
            tensors[official_name(bare) or bare] = tensor
    codes = _codes(contents, lambda stem: _positions_of(stem, contents))
    tensors = codes | tensors
    return ConvertedWeights({"": tensors}, dict.fromkeys(codes, REGENERATED), metadata=_metadata(contents, info))


def motion_to_diffusers(contents: CanonicalWeights, info: WeightsInfo) -> ConvertedWeights:
    """Write diffusers' names and the config that `MotionAdapter` or `SparseControlNetModel` reads."""
    codes = _codes(contents, lambda stem: [stem + SHARED_POSITION_SUFFIX])
    tensors = codes | {key.removeprefix("unet."): tensor for key, tensor in contents.tensors.items()}
    metadata = _metadata(contents, info) | {"format": "pt"}
    frames = int(contents.metadata[FRAMES_KEY]) if FRAMES_KEY in contents.metadata else None
    describe = model_configs.sparsectrl if info.kind == "sparsectrl" else model_configs.motion_adapter
    config = json.dumps(describe(tensors, frames), indent=2).encode() + b"\n"
    return ConvertedWeights(
        {"": tensors}, dict.fromkeys(codes, REGENERATED), metadata=metadata, configs={"config.json": config}
    )


def _read(file: WeightFile, info: WeightsInfo, others: tuple[str, ...]) -> CanonicalWeights:
    tensors: dict[str, LazyTensor] = {}
    dropped: dict[str, str] = {}
    facts = _recorded(file)
    lengths = {tensor.shape[-2] for key, tensor in file.tensors.items() if is_position(key) and len(tensor.shape) == 3}
    if len(lengths) > 1:
        raise IntegrityError(f"{file.path.name}: position codes of different lengths: {sorted(lengths)}")
    for key, tensor in file.tensors.items():
        bare = _bare(key)
        name = diffusers_name(bare)
        if name and (shared := _POSITION.fullmatch(name)):
            if is_sinusoid(tensor):
                dropped[key] = RECOMPUTED
                facts |= {FRAMES_KEY: str(tensor.shape[1]), POSITION_DTYPE_KEY: tensor.dtype}
            else:
                _keep_learned(tensors, f"unet.{shared[1]}{SHARED_POSITION_SUFFIX}", tensor, key, file)
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


def _keep_learned(tensors: dict[str, LazyTensor], name: str, tensor: LazyTensor, key: str, file: WeightFile) -> None:
    """Keep a position code that is no plain sinusoid, as far as diffusers can: one for both attentions of a block."""
    known = tensors.setdefault(name, tensor)
    if known is not tensor and not known.read().equal(tensor.read()):
        refuse_keys([key], file.path.name, "its position code differs between two attentions of a block")


def _codes(contents: CanonicalWeights, names: Callable[[str], list[str]]) -> dict[str, LazyTensor]:
    """Compute the position codes of every transformer block; none where no file told how long they are."""
    frames = contents.metadata.get(FRAMES_KEY)
    dtype = contents.metadata.get(POSITION_DTYPE_KEY, "F32")
    blocks = _blocks(contents.tensors) if frames else {}
    return {
        name: positional_encoding(int(frames or 0), width, dtype)
        for stem, width in blocks.items()
        for name in names(stem)
    }


def _blocks(tensors: Mapping[str, LazyTensor]) -> dict[str, int]:
    """Map each transformer block to its width."""
    found = ((_ATTENTION.fullmatch(key.removeprefix("unet.")), tensor) for key, tensor in tensors.items())
    return {match[1]: tensor.num_rows for match, tensor in found if match and ".motion_modules." in match[1]}


def _positions_of(stem: str, contents: CanonicalWeights) -> list[str]:
    """Name the position codes of a block in the original's layout."""
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
