"""What the loop needs from a data set of clips; `training.dataset.Dataset` provides it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Clip(Protocol):
    """One clip of the data set, not yet decoded."""

    @property
    def name(self) -> str: ...
    @property
    def caption(self) -> str: ...
    @property
    def bucket(self) -> tuple[int, int]:
        """Height and width in pixels."""
        ...

    @property
    def key(self) -> str:
        """Digest of the file's content and every setting that decides its frames."""
        ...


class Clips(Protocol):
    """Clips by number. `frames` is the same for the same numbers on every machine."""

    @property
    def items(self) -> Sequence[Clip]: ...
    def frames(self, index: int, draw: int) -> NDArray[np.uint8]:
        """Decode clip `index`, cut in its way number `draw`: uint8 [F, H, W, 3]."""
        ...
