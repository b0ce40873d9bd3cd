"""Weights under canonical names, and converted weights, with a reason for every dropped or added key."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from animdiff_cli.core.text import counted
from animdiff_cli.errors import IntegrityError
from animdiff_cli.weights.lazy import LazyTensor

UNKNOWN = "no part of a Stable Diffusion model has this weight"


@dataclass(frozen=True, slots=True)
class CanonicalWeights:
    """The weights of a file under canonical names: diffusers' names with the part as prefix (`unet.…`)."""

    tensors: Mapping[str, LazyTensor]
    dropped: Mapping[str, str]  # key in the file → why it is dropped
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ConvertedWeights:
    """Weights to write: one file with the name "", or several files by their path in a folder."""

    files: Mapping[str, Mapping[str, LazyTensor]]
    added: Mapping[str, str] = field(default_factory=dict)  # key in the target → why it is added
    dropped: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, bytes] = field(default_factory=dict)  # other files of a folder, by path

    @property
    def num_tensors(self) -> int:
        """Number of tensors in all files."""
        return sum(len(tensors) for tensors in self.files.values())


def refuse_keys(keys: Iterable[str], source: str, why: str) -> NoReturn:
    """Raise `IntegrityError` for keys that cannot be converted, naming the first."""
    refused = sorted(keys)
    raise IntegrityError(
        f"{source}: {counted(len(refused), 'key')} refused, first `{refused[0][:120]}`: {why}",
        hint="see what the file is: `animdiff inspect FILE`",
    )


def count_by_reason(table: Mapping[str, str]) -> dict[str, int]:
    """Count keys by reason.

    >>> count_by_reason({"a": "unused", "b": "unused"})
    {'unused': 2}
    """
    return dict(Counter(table.values()))
