"""Networks that make control pictures: opened and checked before a render, and run frame by frame in float32.

Depth runs in transformers, the others in the package controlnet-aux, which the extra `control` installs. Weights are
read by `animdiff_cli.weights`: neither package opens a file or the network connection.
"""

import importlib
import importlib.util
import io
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from animdiff_cli.core.choices import Preprocessor
from animdiff_cli.core.stand_ins import show_torchvision
from animdiff_cli.diffusion.depth import Detect, Frame, check_depth, load_depth
from animdiff_cli.errors import UsageError
from animdiff_cli.weights.completeness import check_shapes
from animdiff_cli.weights.files import WeightFile, refuse_unusable
from animdiff_cli.weights.kind_checks import open_kind
from animdiff_cli.weights.materialize import materialize
from animdiff_cli.weights.preprocessors import DEPTH, detector_of, plain_name

PACKAGE = "controlnet_aux"
EXTRA = "pip install 'animdiff[control]'"
#: pixels of the shorter side that these networks see: those of their training, and more for larger clips
SMALLEST, LARGEST = 512, 1024
#: thresholds of lines: score, and length in pixels at half size, as in controlnet-aux
LINE_SCORE, LINE_LENGTH = 0.1, 0.1


@dataclass(frozen=True, slots=True)
class DetectorFile:
    """Weights of a network that makes control pictures, opened and checked. Tensors are not read yet."""

    file: WeightFile
    name: str
    makes: Preprocessor


@dataclass(frozen=True, slots=True)
class _Network:
    """Where controlnet-aux has a network, and what runs it on one frame at a given length of the shorter side."""

    module: str
    build: Callable[[Any], Any]
    detect: Callable[[Any, Any], Callable[[Frame, int], Frame]]
    nested: bool = False  # names in files lack the first part


def open_detector(path: Path) -> DetectorFile:
    """Open weights of a preprocessor, and check that they are all there. Reads headers only.

    Raises `UsageError` for another kind or a missing package, `IntegrityError` for damaged weights.
    """
    file, _ = open_kind(path, "preprocessor")
    detector = detector_of(file)
    assert detector  # as `open_kind` checked
    with refuse_unusable(path.name):
        if detector.name == DEPTH:
            check_depth(file)
        else:
            found = {plain_name(key): tensor for key, tensor in file.tensors.items()}
            check_shapes(_expected(detector.name), found, path.name)
    return DetectorFile(file, detector.name, detector.makes)


def load_detector(opened: DetectorFile, device: torch.device) -> Detect:
    """Load the network onto the device in float32, and return what runs it. It is freed with the returned function."""
    if opened.name == DEPTH:
        return load_depth(opened.file, device)
    network = NETWORKS[opened.name]
    module = _import(network.module)
    with _quiet():
        loaded = network.build(module)
    state = materialize(opened.file.tensors, torch.float32)
    named = _names(network, loaded)
    loaded.load_state_dict({named[plain_name(key)]: tensor for key, tensor in state.items()})
    detect = network.detect(module, loaded.eval().requires_grad_(False).to(device))
    return partial(_at_size, detect)


def require_package(makes: Preprocessor) -> None:
    """Raise `UsageError` if the package of a preprocessor is not installed. Imports nothing."""
    if makes != DEPTH and importlib.util.find_spec(PACKAGE) is None:
        raise UsageError(f"the preprocessor `{makes}` needs the package controlnet-aux", hint=EXTRA)


def _at_size(detect: Callable[[Frame, int], Frame], frame: Frame) -> Frame:
    """Run a network near the size it was trained at, and scale its picture to the size of the frame."""
    import cv2

    height, width = frame.shape[:2]
    with torch.no_grad(), _quiet():
        picture = detect(np.ascontiguousarray(frame), min(max(SMALLEST, min(height, width)), LARGEST))
    larger = picture.shape[0] > height
    return np.asarray(
        cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if larger else cv2.INTER_LINEAR)
    )


@lru_cache(maxsize=16)
def _expected(name: str) -> Mapping[str, tuple[int, ...]]:
    """Return the shape of every weight of a network under the names of its files, without allocating it."""
    network = NETWORKS[name]
    module = _import(network.module)
    with _quiet(), torch.device("meta"):
        built = network.build(module)
    shapes = {key: tuple(tensor.shape) for key, tensor in built.state_dict().items()}
    return {stored: shapes[key] for stored, key in _names(network, built).items()}


def _names(network: _Network, built: Any) -> dict[str, str]:
    """Return name in files → name in the network."""
    return {key.partition(".")[2] if network.nested else key: key for key in built.state_dict()}


def _import(module: str) -> Any:
    """Import a part of controlnet-aux. Raises `UsageError` if it is not installed or cannot be imported."""
    try:
        show_torchvision()
        with _quiet():
            return importlib.import_module(f"{PACKAGE}.{module}")
    except ModuleNotFoundError as error:
        name = "controlnet-aux" if error.name == PACKAGE else error.name
        raise UsageError(f"this preprocessor needs the package {name}", hint=EXTRA) from error
    except Exception as error:  # torchvision raises a RuntimeError beside a torch that it was not built for
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UsageError(
            f"the package controlnet-aux cannot be imported: {reason}",
            hint="install torch and torchvision from one source, in versions that belong together",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what these packages print and warn of."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _simple(detector: str) -> Callable[[Any, Any], Callable[[Frame, int], Frame]]:
    """Return how a detector class of controlnet-aux is called."""
    return lambda module, network: _called(getattr(module, detector)(network))


def _called(detector: Any) -> Callable[[Frame, int], Frame]:
    return lambda frame, side: cast(
        "Frame", detector(frame, detect_resolution=side, image_resolution=side, output_type="np")
    )


def _lineart(module: Any, network: Any) -> Callable[[Frame, int], Frame]:
    return _called(module.LineartDetector(network, network))  # the second one is for `coarse`


def _openpose(module: Any, network: Any) -> Callable[[Frame, int], Frame]:
    body = object.__new__(module.Body)  # its constructor reads a file
    body.model = network
    return _called(module.OpenposeDetector(body))


def _mlsd(module: Any, network: Any) -> Callable[[Frame, int], Frame]:
    """Draw straight lines. The detector class of controlnet-aux returns black frames for any error."""
    import cv2

    def detect(frame: Frame, side: int) -> Frame:
        shown = module.resize_image(frame, side)
        drawn = np.zeros_like(shown)
        try:
            lines = module.pred_lines(shown, network, [*shown.shape[:2]], LINE_SCORE, LINE_LENGTH)
        except IndexError:  # no lines
            lines = ()
        for line in lines:
            left, top, right, bottom = map(int, line)
            cv2.line(drawn, (left, top), (right, bottom), (255, 255, 255), 1)
        return cast("Frame", drawn)

    return detect


def _anime(module: Any) -> Any:
    norm = partial(torch.nn.InstanceNorm2d, affine=False, track_running_stats=False)
    return module.UnetGenerator(3, 1, 8, 64, norm_layer=norm, use_dropout=False)


def _normal(module: Any) -> Any:
    settings = {"architecture": "BN", "sampling_ratio": 0.4, "importance_ratio": 0.7}
    return module.NNET(types.SimpleNamespace(mode="client", pretrained="scannet", **settings))


def _body(module: Any) -> Any:
    return importlib.import_module(f"{module.__name__}.model").bodypose_model()


#: detector → its network, built as the package itself builds it
NETWORKS: Mapping[str, _Network] = {
    "hed": _Network("hed", lambda module: module.ControlNetHED_Apache2(), _simple("HEDdetector")),
    "pidinet": _Network("pidi", lambda module: module.pidinet(), _simple("PidiNetDetector")),
    "lineart": _Network("lineart", lambda module: module.Generator(3, 1, 3), _lineart),
    "lineart-anime": _Network("lineart_anime", _anime, _simple("LineartAnimeDetector")),
    "mlsd": _Network("mlsd", lambda module: module.MobileV2_MLSD_Large(), _mlsd),
    "normal-bae": _Network("normalbae", _normal, _simple("NormalBaeDetector")),
    "openpose": _Network("open_pose", _body, _openpose, nested=True),
}
