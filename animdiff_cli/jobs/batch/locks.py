"""One lock per job, so that two processes never render the same one. The system releases those of a dead process."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from animdiff_cli.errors import UsageError
from animdiff_cli.files.os_errors import readable_output_failures

FOLDER = ".animdiff-locks"


class JobLocks:
    """The locks of a batch, as files in a hidden folder of its output folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER

    @contextmanager
    def held(self, job: str) -> Iterator[bool]:
        """Hold the lock of a job. Yields False at once if another process holds it. Raises `UsageError`."""
        lock = FileLock(self.folder / f"{job}.lock")
        with readable_output_failures(self.folder):
            is_held = self._acquire(lock)
        try:
            yield is_held
        finally:
            if is_held:
                # removed while it is held: who has opened it already finds out that it is gone
                with suppress(OSError):
                    Path(lock.lock_file).unlink()
                lock.release()

    def is_held(self, job: str) -> bool:
        """Return whether a process holds the lock of a job. Another one that asks for it in this moment is refused."""
        if not (self.folder / f"{job}.lock").exists():
            return False
        try:
            with self.held(job) as is_free:
                return not is_free
        except UsageError:  # a folder of another user
            return True

    def _acquire(self, lock: FileLock) -> bool:
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return False
            except FileNotFoundError:  # another process has removed the folder in the meantime
                continue
            return True

    def clean(self) -> None:
        """Remove the lock files of dead processes, and the folder if nobody uses it."""
        for path in sorted(self.folder.glob("*.lock")):
            with self.held(path.stem):
                pass
        with suppress(OSError):
            self.folder.rmdir()
