"""The settings that name weights: one table, which schema, flags, fetching, checks and recipes read."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from animdiff_cli.config.input_settings import ControlEntry, ImagePromptEntry
from animdiff_cli.config.settings import Reference, TextRecord, stored_form
from animdiff_cli.config.varying import Varying
from animdiff_cli.core.choices import Kind
from animdiff_cli.core.curves import Curve
from animdiff_cli.core.refs import parse_ref, require_no_credentials, scale_text


@dataclass(frozen=True, slots=True)
class WeightSetting:
    """One setting that names weights. `key` is the field of `GenerateConfig` and the part of a recipe's hashes."""

    key: str
    kind: Kind
    flag: str
    is_list: bool = False
    is_scaled: bool = False  # entries may end in `@scale`
    label: str = ""  # in the summary of a render, for weights applied to the image model or the motion module
    also: tuple[Kind, ...] = ()  # other kinds that it takes
    entry: type[TextRecord] | None = None  # of entries that hold more than a reference and its scale

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """All kinds of weights that this setting takes."""
        return (self.kind, *self.also)

    @property
    def record(self) -> type[TextRecord] | None:
        """The record of an entry, whose field `ref` names the weights; None for a bare reference."""
        return self.entry or (WeightEntry if self.is_scaled else None)


#: in the order of a recipe
WEIGHT_SETTINGS: Mapping[str, WeightSetting] = MappingProxyType(
    {
        setting.key: setting
        for setting in (
            WeightSetting("model", "base", "--model"),
            WeightSetting("motion_module", "motion-module", "--motion-module"),
            WeightSetting("motion_modules", "motion-module", "--motion-module", True, True),
            WeightSetting("motion_loras", "motion-lora", "--motion-lora", True, True, "MotionLoRA"),
            WeightSetting("loras", "lora", "--lora", True, True, "LoRA"),
            WeightSetting("domain_adapter", "domain-adapter", "--domain-adapter", False, True, "domain adapter"),
            WeightSetting("vae", "vae", "--vae", label="VAE"),
            WeightSetting("embeddings", "embedding", "--embedding", True, label="embedding"),
            WeightSetting(
                "controls", "controlnet", "--control", True, label="control", also=("sparsectrl",), entry=ControlEntry
            ),
            WeightSetting(
                "image_prompts", "ip-adapter", "--image-prompt", True, label="image prompt", entry=ImagePromptEntry
            ),
            WeightSetting("image_encoder", "image-encoder", "--image-encoder"),
            WeightSetting("preprocess_weights", "preprocessor", "--preprocess-weights", True),
        )
    }
)


class WeightEntry(TextRecord):
    """Weights and how strongly they are applied: `{ref: zoom-in, scale: 0.8}`, or as text `zoom-in@0.8`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ref: str = Field(min_length=1, description="`ref` names the weights: an alias, a file or an address.")
    scale: Annotated[float | Curve, Varying(Annotated[float, Field(allow_inf_nan=False)])] | None = Field(
        None, examples=[0.8], description="How strongly to apply the weights; null is 1."
    )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `REF` or `REF@SCALE`. Raises `UsageError`.

        >>> WeightEntry.parse("zoom-in@0.8")
        WeightEntry(ref='zoom-in', scale=0.8)
        """
        scale = parse_ref(text, scaled=True).scale
        return cls(ref=text if scale is None else text.rpartition("@")[0], scale=scale)

    def stored(self) -> str:
        """Return the text form, which `parse` reads as the same entry.

        >>> WeightEntry(ref="zoom-in", scale=0.8).stored()
        'zoom-in@0.8'
        """
        reads_as_scaled = parse_ref(self.ref, scaled=True).scale is not None
        scale = 1.0 if self.scale is None and reads_as_scaled else self.scale
        return self.ref if scale is None else f"{self.ref}@{scale_text(scale)}"


def _without_credentials(value: str | dict[str, Any]) -> str | dict[str, Any]:
    require_no_credentials(value if isinstance(value, str) else str(value["ref"]))
    return value


def _entry_as_text(value: object) -> object:
    return WeightEntry.model_validate(value).stored() if isinstance(value, Mapping) else value


#: text that refers to weights: `REF`
WeightRef = Annotated[str, AfterValidator(require_no_credentials), Reference()]
#: text `REF@SCALE`, or a record `{ref, scale}`, which is kept as text
ScaledRef = Annotated[
    str, BeforeValidator(_entry_as_text), AfterValidator(require_no_credentials), Reference(WeightEntry)
]

#: text `REF=SOURCE@SCALE`, or a record of the fields of `ControlEntry`
ControlRef = Annotated[
    str | dict[str, Any], stored_form(ControlEntry), AfterValidator(_without_credentials), Reference(ControlEntry)
]

#: text `REF=PICTURE@SCALE`, or a record of the fields of `ImagePromptEntry`
ImagePromptRef = Annotated[
    str | dict[str, Any],
    stored_form(ImagePromptEntry),
    AfterValidator(_without_credentials),
    Reference(ImagePromptEntry),
]


#: what decides which weights are loaded, and how
LOADING_SETTINGS = (*WEIGHT_SETTINGS, "motion_version", "lora_alpha_mode", "dtype", "weights_dtype", "low_vram")


def chosen_weights(key: str, value: object) -> object:
    """Return what decides which weights the value of a setting loads: of a control its reference alone."""
    setting = WEIGHT_SETTINGS.get(key)
    return tuple(refs_in(setting, value)) if setting and setting.entry else value


def refs_in(setting: WeightSetting, value: object) -> list[str]:
    """List the references in the value of a layer, scales left out: text or records, one or several.

    What is neither is left out: the schema refuses it.
    """
    refs = []
    for entry in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(entry, str) and entry:
            refs.append(getattr(setting.record.parse(entry), "ref", entry) if setting.record else entry)
        elif isinstance(entry, Mapping) and isinstance(entry.get("ref"), str):
            refs.append(entry["ref"])
    return refs
