"""What is known about a weight file: kind, base, version, layout and size."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

WeightsKind = Literal[
    "base",
    "unet",
    "motion-module",
    "motion-lora",
    "domain-adapter",
    "lora",
    "vae",
    "text-encoder",
    "embedding",
    "controlnet",
    "sparsectrl",
    "ip-adapter",
    "image-encoder",
    "preprocessor",
]
#: kind → how it is used; braces are filled from the `WeightsInfo`
USAGE: Mapping[str, str] = {
    "base": "`--model`, and {base} motion modules",
    "unet": "other parts of a {base} model",
    "motion-module": "`--motion-module`, on any {base} model",
    "motion-lora": "`--motion-lora`, on a {version} motion module of {base}",
    "domain-adapter": "`--domain-adapter`, with the {version} motion module of {base}",
    "lora": "`--lora`, on any {base} model",
    "vae": "`--vae`, on any {base} model",
    "text-encoder": "other parts of a {base} model",
    "embedding": "`--embedding`, and its name in the prompt, on any {base} model",
    "controlnet": "`--control FILE=VIDEO`, on any {base} model",
    "sparsectrl": "`--control FILE=PICTURE`, on the v3 motion module of {base} with the domain adapter",
    "ip-adapter": "`--image-prompt FILE=PICTURE`, on any {base} model",
    "image-encoder": "`--image-encoder`, with an IP-Adapter",
    "preprocessor": "`--preprocess-weights`, with a ControlNet",
}
#: metadata keys in files written by this program
KIND_KEY, VERSION_KEY, FRAMES_KEY = "animdiff.kind", "animdiff.motion_version", "animdiff.max_frames"
BASE_KEY = "animdiff.base"
#: base → the base with the same architecture, from which names and levels cannot distinguish it
BUILT_LIKE: Mapping[str, str] = {"pocket": "sd15"}


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """Facts from the names, shapes and metadata of a file. Unknown facts are None, never guessed."""

    kind: WeightsKind
    base: str | None  # sd15, sd2 or sdxl; pocket only from metadata
    version: str | None  # of a motion module, or of the module it was made for
    format: str  # original, diffusers, kohya, peft; hotshot for Hotshot-XL's own names
    family: str | None  # of a LoRA: lora, locon, loha, lokr, dora, full, ia3, glora, diag-oft or boft
    rank: int | None  # of a LoRA, the largest
    dtype: str  # such as `fp16`, or `fp16+fp32` if mixed
    parameters: int
    tensors: int
    max_frames: int | None
    container: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def goes_with(self) -> str:
        """Describe what the file is used with."""
        version = self.version or ("sdxl or hotshot" if self.base == "sdxl" else "v1 or v3")
        return USAGE[self.kind].format(base=self.base or "fitting", version=version)

    def fits_base(self, other: "WeightsInfo") -> bool:
        """Return whether both have the same base architecture, or one is unknown. Widths are not compared."""
        own, others = (BUILT_LIKE.get(base, base) for base in (self.base or "", other.base or ""))
        return own == others or not (own and others)

    def record(self) -> dict[str, Any]:
        """Return all facts as a JSON object."""
        return asdict(self) | {"goes_with": self.goes_with, "notes": list(self.notes)}
