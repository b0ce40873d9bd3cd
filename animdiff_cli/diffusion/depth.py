"""Depth of a picture by Depth Anything or DPT (MiDaS), which run in transformers. Near is white."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from animdiff_cli.diffusion.build import silence_libraries
from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.files.untrusted import read_json
from animdiff_cli.weights.files import WeightFile, refuse_unusable
from animdiff_cli.weights.materialize import materialize

#: uint8 [H, W, 3]
Frame = NDArray[np.uint8]
#: makes a control picture of a frame, of the same shape
Detect = Callable[[Frame], Frame]
#: `model_type` of a config → its config and network in transformers
CLASSES: Mapping[str, tuple[str, str]] = {
    "depth_anything": ("DepthAnythingConfig", "DepthAnythingForDepthEstimation"),
    "dpt": ("DPTConfig", "DPTForDepthEstimation"),
}
#: settings with which transformers would download a part of the network
DOWNLOADS = ("backbone", "use_pretrained_backbone", "use_timm_backbone")
#: mean and standard deviation of ImageNet's red, green and blue, for folders that record none
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def check_depth(file: WeightFile) -> None:
    """Check that a file has the weights of its config. Reads headers only. Raises `UsageError`, `IntegrityError`.

    Files have the names of older releases, which transformers renames while loading; shapes are compared instead.
    """
    config, network = _read_config(file)
    with silence_libraries(), torch.device("meta"):
        built = network(config)
    wanted = Counter(tuple(tensor.shape) for tensor in built.state_dict().values())
    missing = wanted - Counter(tensor.shape for tensor in file.tensors.values())
    if missing:
        shape, count = next(iter(missing.items()))
        raise IntegrityError(
            f"{file.path.name} lacks {sum(missing.values())} weights of its config, {count} of shape {shape}",
            hint="download the model again",
        )


def load_depth(file: WeightFile, device: torch.device) -> Detect:
    """Load the network onto the device in float32, and return what makes a picture of depth of one frame.

    Raises `IntegrityError` for missing or unknown weights.
    """
    config, network = _read_config(file)
    state = materialize(file.tensors, torch.float32)
    with silence_libraries(), refuse_unusable(file.path.name):
        loaded, report = network.from_pretrained(None, config=config, state_dict=state, output_loading_info=True)
    for what in ("missing_keys", "unexpected_keys"):
        if keys := sorted(report[what]):
            problem = "lacks" if what == "missing_keys" else "has unknown weights, first"
            raise IntegrityError(f"{file.path.name} {problem} `{keys[0]}`", hint="download the model again")
    prepare = partial(_prepared, settings=_processor(file), multiple=int(config.patch_size))
    is_distance = getattr(config, "depth_estimation_type", "relative") == "metric"
    return partial(_depth, loaded.eval().requires_grad_(False).to(device), prepare, is_distance)


@torch.no_grad()
def _depth(network: Any, prepare: Callable[[Frame], torch.Tensor], is_distance: bool, frame: Frame) -> Frame:
    """Return depth uint8 [H, W, 3] from 0, the farthest of the frame, to 255, the nearest."""
    depth = network(prepare(frame).to(network.device)).predicted_depth[:, None]
    depth = functional.interpolate(depth.float(), frame.shape[:2], mode="bicubic", align_corners=False)[0, 0]
    near = -depth if is_distance else depth
    near = near - near.min()
    grey = (near / near.max().clamp(min=1e-6) * 255).round().byte().cpu().numpy()
    return np.repeat(grey[..., None], 3, axis=-1)


def _prepared(frame: Frame, settings: Mapping[str, Any], multiple: int) -> torch.Tensor:
    """Scale and normalize a frame as `preprocessor_config.json` says: [1, 3, h, w]."""
    height, width = frame.shape[:2]
    down, across = settings["height"] / height, settings["width"] / width
    if settings["keep_aspect_ratio"]:  # scale as little as possible
        down = across = min(down, across, key=lambda scale: abs(1 - scale))
    size = tuple(max(round(length / multiple), 1) * multiple for length in (height * down, width * across))
    pixels = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].float()
    pixels = functional.interpolate(pixels, size, mode="bicubic", align_corners=False, antialias=True) / 255
    mean, std = (torch.tensor(settings[key]).view(1, 3, 1, 1) for key in ("image_mean", "image_std"))
    return (pixels - mean) / std


def _processor(file: WeightFile) -> dict[str, Any]:
    """Read how pictures are prepared, from `preprocessor_config.json` beside the weights."""
    recorded = _read(file, "preprocessor_config.json")
    side = {"height": 518, "width": 518} if recorded.get("ensure_multiple_of") == 14 else {"height": 384, "width": 384}
    size = recorded.get("size", side)
    with refuse_unusable(f"preprocessor_config.json of {file.path.name}"):
        return {
            "height": int(size["height"]),
            "width": int(size["width"]),
            "keep_aspect_ratio": bool(recorded.get("keep_aspect_ratio", False)),
            "image_mean": [float(number) for number in recorded.get("image_mean", MEAN)],
            "image_std": [float(number) for number in recorded.get("image_std", STD)],
        }


def _read_config(file: WeightFile) -> tuple[Any, Any]:
    """Return the config and the class of a network. Raises `UsageError`, `IntegrityError`."""
    import transformers

    config = _read(file, "config.json")
    names = CLASSES.get(str(config.get("model_type")))
    if names is None:
        raise UsageError(
            f"{file.path.name} has no config.json of a supported depth network",
            hint=f"use a folder of transformers whose `model_type` is {' or '.join(CLASSES)}",
        )
    if any(config.get(key) for key in DOWNLOADS):
        raise UsageError(
            f"{file.path.name} needs a part of its network from elsewhere", hint="use a folder with `backbone_config`"
        )
    for part in (config, config.get("backbone_config") or {}):
        layers = part.get("num_hidden_layers", 0) if isinstance(part, dict) else 0
        if not isinstance(layers, int) or layers > len(file.tensors):
            raise IntegrityError(
                f"{file.path.name}: its config has more layers than there are weights", hint="download the model again"
            )
    try:
        with silence_libraries():
            return getattr(transformers, names[0]).from_dict(config), getattr(transformers, names[1])
    except Exception as error:  # the library raises arbitrary exceptions for invalid configs
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise IntegrityError(
            f"{file.path.name} has an invalid config.json: {reason}", hint="download the model again"
        ) from error


def _read(file: WeightFile, name: str) -> dict[str, Any]:
    path = (file.path if file.path.is_dir() else file.path.parent) / name
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path} cannot be read: {error}", hint="download it again") from error
    return content if isinstance(content, dict) else {}
