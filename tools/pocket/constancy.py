"""Does the subject of a clip stay the same thing in the same colour?"""

import numpy as np

from tools.pocket.classify import Classifier, read


def is_constant(classifier: Classifier, frames: np.ndarray) -> bool:
    """Decide whether every frame (uint8 [F, H, W, 3]) reads as one object in one colour, no exceptions."""
    return len({(reading.kind, reading.colour) for reading in read(classifier, frames)}) == 1
