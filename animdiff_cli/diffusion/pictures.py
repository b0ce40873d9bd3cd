"""Pictures for the frames of a clip."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Pictures(Protocol):
    """Pictures uint8 [H, W, 3] that are read one at a time."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class ClipPictures:
    """What each frame of a clip shows: `pictures[of_frame[f]]`, or nothing where that is None.

    A picture that is shown by many frames is held, and computed with, once.
    """

    pictures: Pictures
    of_frame: tuple[int | None, ...]  # one entry per new frame of the clip

    def chunk(self, numbers: range) -> NDArray[np.uint8]:
        """Read pictures by number: uint8 [N, H, W, 3]."""
        return np.stack([self.pictures[number] for number in numbers])
