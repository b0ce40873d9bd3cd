"""Weights with a scale."""

from dataclasses import dataclass
from pathlib import Path

from animdiff_cli.core.curves import Curve


@dataclass(frozen=True, slots=True)
class ScaledWeights:
    """A weight file and its scale."""

    path: Path
    scale: float | Curve = 1.0
