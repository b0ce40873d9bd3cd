"""Networks that make control pictures: which preprocessor each is for, by the names of its tensors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from animdiff_cli.core.choices import Preprocessor
from animdiff_cli.weights.files import WeightFile

DEPTH = "depth"


@dataclass(frozen=True, slots=True)
class Detector:
    """One network. Each pattern in `keys` matches the start of some tensor's name in its files."""

    name: str
    makes: Preprocessor
    keys: tuple[str, ...]


DETECTORS = (
    Detector("hed", "softedge", (r"block1\.convs\.0\.", r"block5\.projection\.")),
    Detector("pidinet", "softedge", (r"init_block\.", r"block1_1\.conv1\.")),
    Detector("lineart", "lineart-realistic", (r"model0\.1\.", r"model4\.1\.")),
    Detector("lineart-anime", "lineart-anime", (r"model\.model\.0\.", r"model\.model\.3\.")),
    Detector("mlsd", "mlsd", (r"backbone\.features\.0\.0\.", r"block23\.conv3\.")),
    Detector("normal-bae", "normal", (r"encoder\.original_model\.conv_stem\.", r"decoder\.out_conv_res1\.")),
    Detector("openpose", "openpose", (r"conv1_1\.", r"Mconv7_stage6_L2\.")),
    Detector(DEPTH, "depth", (r"(?:backbone|dpt)\.", r"neck\.fusion_stage\.", r"head\.")),
)
#: preprocessor that needs a network → alias of its usual weights. All but depth run in the package controlnet-aux
USUAL_WEIGHTS: Mapping[Preprocessor, str] = {
    "depth": "depth-anything-v2-small",
    "normal": "normal-bae",
    "openpose": "openpose-body",
    "softedge": "hed",
    "lineart-realistic": "lineart-realistic",
    "lineart-anime": "lineart-anime",
    "mlsd": "mlsd",
}


def detector_of(file: WeightFile) -> Detector | None:
    """Return the network that a file is of; None if it makes no control pictures."""
    names = [plain_name(key) for key in file.tensors]
    return next((one for one in DETECTORS if all(any(re.match(key, name) for name in names) for key in one.keys)), None)


def plain_name(key: str) -> str:
    """Return the name of a tensor without the prefix of parallel training."""
    return key.removeprefix("module.")
