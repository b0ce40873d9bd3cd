"""What a weight file is: the card that `inspect` prints and that decides what may be done with it."""

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
]
#: what each kind is used with; braces are filled from the card
GOES_WITH: Mapping[str, str] = {
    "base": "`--model`, and {base} motion modules",
    "unet": "other parts of a {base} model",
    "motion-module": "`--motion-module`, on any {base} model",
    "motion-lora": "`--motion-lora`, on a {version} motion module of {base}",
    "domain-adapter": "`--domain-adapter`, beside the {version} motion module of {base}",
    "lora": "`--lora`, on any {base} model",
    "vae": "`--vae`, on any {base} model",
    "text-encoder": "other parts of a {base} model",
    "embedding": "`--embedding`, and its name in the prompt, on any {base} model",
    "controlnet": "any {base} model",
    "sparsectrl": "the v3 motion module of {base}, with the domain adapter",
    "ip-adapter": "any {base} model",
}
#: metadata key under which this program's own files say what they are
KIND_KEY, VERSION_KEY, FRAMES_KEY = "animdiff.kind", "animdiff.motion_version", "animdiff.max_frames"
BASE_KEY = "animdiff.base"
#: bases that are built like another one, only smaller: names and levels cannot tell them from it
BUILT_LIKE: Mapping[str, str] = {"pocket": "sd15"}


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """Everything that names, shapes and metadata tell. What they cannot tell is None, never guessed."""

    kind: WeightsKind
    base: str | None  # sd15, sd2 or sdxl; pocket where the file says so
    version: str | None  # of a motion module, or of the one it was made for
    format: str  # original, diffusers, kohya, peft; hotshot for Hotshot-XL's own names
    family: str | None  # of a LoRA: lora, locon, loha, lokr or dora
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
        """Say in a few words what it is used with."""
        version = self.version or ("sdxl or hotshot" if self.base == "sdxl" else "v1 or v3")
        return GOES_WITH[self.kind].format(base=self.base or "fitting", version=version)

    def fits_base(self, other: "WeightsInfo") -> bool:
        """Tell whether both are built alike, as far as is known; how wide they are is not looked at."""
        mine, theirs = (BUILT_LIKE.get(base, base) for base in (self.base or "", other.base or ""))
        return mine == theirs or not (mine and theirs)

    def record(self) -> dict[str, Any]:
        """List everything under its name, for JSON."""
        return asdict(self) | {"goes_with": self.goes_with, "notes": list(self.notes)}
