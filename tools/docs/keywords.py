"""The keyword arguments of the Python API as TypedDicts, written by `python -m tools.docs`.

Type checkers and editors read `animdiff_cli/config/keywords.py`; the schema is the source. A test compares the two.
"""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from animdiff_cli.config.data_config import DataConfig
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.settings import Setting, TextRecord, groups_of, settings_of
from animdiff_cli.config.train_config import TrainConfig
from animdiff_cli.config.weight_settings import ControlEntry, ImagePromptEntry, WeightEntry
from animdiff_cli.core import choices

OUTPUT = Path(__file__).parents[2] / "animdiff_cli" / "config" / "keywords.py"

HEAD = '''\
"""Keyword arguments of the Python API. Written from the schema by `python -m tools.docs`; do not edit."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Required, TypedDict

from animdiff_cli.core.choices import (
{imports}
)

#: weights: an alias, a path, `hf:org/repo/file`, `civitai:model@version` or an https URL
Ref = str | PathLike[str]


#: a number, or numbers by position: `"0:1,50%:2"` or `{{0: 1, "50%": 2}}`
Amount = float | str | Mapping[int | str, float]
#: a text, or texts by position: `{{0: "day", "50%": "night"}}`
Texts = str | Mapping[int | str, str]


class ScaledWeights(TypedDict, total=False):
    """Weights and how strongly they are applied. As text: `"zoom-in@0.8"`."""

    ref: Required[Ref]
    scale: Amount


#: weights, with a scale as `"zoom-in@0.8"` or as a mapping
ScaledRef = Ref | ScaledWeights


class Control(TypedDict, total=False):
    """A ControlNet or SparseCtrl with the pictures it follows. As text: `"controlnet-canny=dance.mp4@0.8"`."""

    ref: Required[Ref]
    source: Required[Ref]
    scale: Amount
    start: float
    end: float
    section: str
    frames: str | Sequence[int | str]
    preprocess: Preprocessor
    fit: Fit
    after_end: AfterEnd
    guess_mode: bool


#: a control as text or as a mapping
ControlRef = str | Control


class ImagePrompt(TypedDict, total=False):
    """An IP-Adapter with the pictures that it reads as a prompt. As text: `"ip-adapter=fox.png@0.6"`."""

    ref: Required[Ref]
    source: Required[Ref]
    scale: Amount
    start: float
    end: float
    section: str
    frames: str | Sequence[int | str]
    fit: Fit
    after_end: AfterEnd


#: an image prompt as text or as a mapping
ImagePromptRef = str | ImagePrompt
'''

#: record of an entry → its type in Python
RECORDS: Mapping[type[TextRecord], str] = {
    WeightEntry: "ScaledRef",
    ControlEntry: "ControlRef",
    ImagePromptEntry: "ImagePromptRef",
}

#: (class, docstring, schema, keys that are arguments of their own)
CLASSES: tuple[tuple[str, str, type[BaseModel], frozenset[str]], ...] = (
    ("GenerateSettings", "Settings of a render.", GenerateConfig, frozenset({"prompt"})),
    ("DataSettings", "The data set of a training run, except its videos.", DataConfig, frozenset({"videos"})),
    ("TrainSettings", "Settings of a training run.", TrainConfig, frozenset({"stage"})),
)


def page() -> str:
    """Return the module as text."""
    classes = [_class(*row) for row in CLASSES]
    names = sorted(name for name in _choice_names().values() if any(f": {name}" in text for text in (HEAD, *classes)))
    return "\n\n".join([HEAD.format(imports="\n".join(f"    {name}," for name in names)), *classes])


def _class(name: str, docstring: str, model: type[BaseModel], own: frozenset[str]) -> str:
    settings, groups = settings_of(model), groups_of(model)
    lines = [f"class {name}(TypedDict, total=False):", f'    """{docstring}"""', ""]
    for key in model.model_fields:
        if key in own:
            continue
        if key in groups:
            lines += [f"    {key}: DataSettings", _described("Settings of the data set.")]
        else:
            description = settings[key].field.description or ""
            lines += [f"    {key}: {annotation(settings[key])}", _described(description)]
    return "\n".join(lines) + "\n"


def _described(text: str) -> str:
    wrapped = textwrap.wrap(text, 110)
    if len(wrapped) == 1 and len(wrapped[0]) <= 110:
        return f'    """{wrapped[0]}"""'
    return "\n".join(['    """' + wrapped[0], *(f"    {line}" for line in wrapped[1:]), '    """'])


def annotation(setting: Setting) -> str:
    """Return the type of a setting as Python accepts it: weights and paths also as `Path`, lists as any sequence."""
    if setting.choices:
        kind = _choice_names()[setting.choices]
    elif setting.varying:
        kind = "Texts" if setting.varying.is_text else "Amount"
    elif setting.reference:
        kind = RECORDS[setting.record] if setting.record else "Ref"
    elif setting.value_type is Path:
        kind = "Ref"
    elif setting.value_type is tuple:
        kind = "float | str | tuple[float, float]"
    else:
        kind = setting.value_type.__name__
    kind = f"Sequence[{kind}]" if setting.is_list else kind
    return f"{kind} | None" if setting.is_optional else kind


def _choice_names() -> dict[tuple[str, ...], str]:
    """Map the values of each `Literal` of `core.choices` to its name."""
    return {get_args(value): name for name, value in vars(choices).items() if name[0].isupper() and get_args(value)}
