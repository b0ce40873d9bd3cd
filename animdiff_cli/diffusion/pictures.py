"""Pictures for the frames of a clip."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Pictures(Protocol):
    """Pictures uint8 [H, W, 3] that are read one at a time."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


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


def joined(parts: Sequence[ClipPictures]) -> ClipPictures:
    """Return the pictures of several sources as one, where each frame shows that of one source at most."""
    if len(parts) == 1:
        return parts[0]
    first, of_frame = 0, list[int | None]([None] * len(parts[0].of_frame))
    for part in parts:
        shown = [None if number is None else first + number for number in part.of_frame]
        of_frame = [own if own is not None else other for own, other in zip(of_frame, shown, strict=True)]
        first += len(part.pictures)
    return ClipPictures([picture for part in parts for picture in part.pictures], tuple(of_frame))
