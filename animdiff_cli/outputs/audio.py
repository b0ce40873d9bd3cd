"""The audio of a video, to be written beside the frames of a clip."""

from dataclasses import dataclass
from pathlib import Path

from animdiff_cli.outputs.ffmpeg import safe_input


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """A part of the audio of a video: `seconds` of it from `start` on. A video without audio adds none."""

    path: Path
    start: float
    seconds: float

    def input_arguments(self) -> list[str]:
        """Return ffmpeg's arguments for one more input."""
        return ["-ss", f"{self.start:.6f}", "-t", f"{self.seconds:.6f}", *safe_input(self.path)]
