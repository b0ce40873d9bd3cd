"""Every measure by name: what it is called, in what unit it is told, which way is better, and what it needs."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["↑", "↓", "→1", "·"]
Needs = Literal["pixels", "opencv", "clip", "reference", "against"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One column. Figures are told as the raw value times `factor`, in tables and in JSON alike."""

    key: str
    needs: Needs
    better: Better
    unit: str
    meaning: str  # one line, for reports
    factor: float = 1
    digits: int = 2
    is_detail: bool = False  # told in JSON and reports, but no column of the table

    @property
    def title(self) -> str:
        """The name with its direction: `warp ↓`."""
        return f"{self.key.replace('_', ' ')} {self.better}"


#: formulas are in docs/concepts/metrics.md
MEASURES: tuple[Measure, ...] = (
    Measure("text", "clip", "↑", "100·cos", "CLIP similarity of the frames to the prompt", 100),
    Measure("domain", "reference", "↑", "100·cos", "CLIP similarity of the frames to the reference stills", 100),
    Measure("smooth", "clip", "↑", "100·cos", "CLIP similarity of all pairs of frames", 100),
    Measure("smooth_neighbours", "clip", "↑", "100·cos", "CLIP similarity of neighbouring frames", 100, is_detail=True),
    Measure("warp", "opencv", "↓", "10⁻³", "squared error of each frame against the next, carried back by flow", 1000),
    Measure("dynamic", "opencv", "·", "% side/f", "speed of the fastest twentieth of the picture", 100),
    Measure("change", "pixels", "·", "levels/f", "mean difference of neighbouring frames", is_detail=True),
    Measure("flicker", "pixels", "↓", "levels", "brightness off the middle of its neighbours'"),
    Measure("seam", "pixels", "→1", "steps", "step from the last frame to the first, in usual steps"),
    Measure("ssim", "against", "↑", "0 to 1", "structural similarity to the other clip", digits=4),
    Measure("psnr", "against", "↑", "dB", "peak signal-to-noise ratio to the other clip"),
)
BY_KEY = {measure.key: measure for measure in MEASURES}
