"""Keep the frames of a clip on disk until they are written: memory does not grow with the length of a clip."""

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from animdiff_cli.errors import UsageError
from animdiff_cli.files.os_errors import temporary_failures, temporary_place
from animdiff_cli.outputs.ffmpeg import Frames

#: a clip up to this size stays in memory; a file descriptor for each clip that a program keeps would run out
MAX_IN_MEMORY = 4 << 20


class FrameSequence(Protocol):
    """The frames of a clip, uint8 [H, W, 3] each: an array [F, H, W, 3] or a `FrameSpool`. Can be read many times."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def __getitem__(self, index: int, /) -> Any: ...


class FrameSpool:
    """Frames, uint8 [F, H, W, 3], that are read one at a time. `numpy.asarray` reads all of them.

    They are in a temporary file without a name: the system deletes it when this object goes, also if the process is
    killed.
    """

    def __init__(self, chunks: Iterable[Frames]) -> None:
        """Store consecutive `chunks`, [f, H, W, 3] each. Raises `UsageError` if the disk is full."""
        self._file = tempfile.SpooledTemporaryFile(MAX_IN_MEMORY)  # noqa: SIM115  closed by the finalizer
        self._close = weakref.finalize(self, self._file.close)
        self.shape: tuple[int, ...] = (0, 0, 0, 3)
        for chunk in chunks:
            with temporary_failures():
                self._file.write(np.ascontiguousarray(chunk).data)
            self.shape = (len(self) + len(chunk), *chunk.shape[1:])

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.shape[0]

    def __iter__(self) -> Iterator[Frames]:
        """Read the frames in order."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int, /) -> Frames:
        """Read one frame, [H, W, 3]; a negative `index` counts from the end. Raises `IndexError`."""
        return self._read(range(len(self))[index], self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Frames:
        """Read all frames."""
        return self._read(0, self.shape)

    def _read(self, first: int, shape: tuple[int, ...]) -> Frames:
        frames = np.empty(shape, np.uint8)
        with temporary_failures():
            self._file.seek(first * int(np.prod(self.shape[1:], dtype=np.int64)))
            self._file.readinto(frames.reshape(-1).data)
        return frames


def check_spool(num_frames: int, height: int, width: int) -> None:
    """Raise `UsageError` if the disk of temporary files has no room for a clip."""
    needed = num_frames * height * width * 3
    if needed <= MAX_IN_MEMORY:
        return
    with temporary_failures():
        place = temporary_place()
        free = shutil.disk_usage(place.parent).free
    if needed > free:
        raise UsageError(
            f"{num_frames} frames of {width}x{height} need {needed / 1e9:.1f} GB in `{place.parent}` until they are"
            f" written, and {free / 1e9:.1f} GB are free",
            hint="free some space, or choose another disk: `export TMPDIR=…`",
        )
