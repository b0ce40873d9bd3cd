"""Weights on their way from one layout to another, with an account of every key."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from animdiff_cli.errors import IntegrityError
from animdiff_cli.weights.lazy import LazyTensor


@dataclass(frozen=True, slots=True)
class CanonicalWeights:
    """What a file holds under canonical names: diffusers' name of each weight, its part in front (`unet.…`)."""

    tensors: Mapping[str, LazyTensor]
    dropped: Mapping[str, str]  # key as it was in the file, and why it is left behind
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ConvertedWeights:
    """What is to be written: one file under the name "", or several by their path in a folder."""

    files: Mapping[str, Mapping[str, LazyTensor]]
    added: Mapping[str, str] = field(default_factory=dict)  # key in the target, and why it is there
    dropped: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, bytes] = field(default_factory=dict)  # files beside the weights, for a folder

    @property
    def tensors(self) -> int:
        """Count of tensors in all files."""
        return sum(len(tensors) for tensors in self.files.values())


def refuse_keys(keys: Iterable[str], source: str, why: str) -> NoReturn:
    """Raise `IntegrityError` that names the first of the keys a conversion cannot account for."""
    refused = sorted(keys)
    raise IntegrityError(
        f"{source}: {len(refused)} keys refused, first `{refused[0][:120]}`: {why}",
        hint="nothing was written; `animdiff inspect` shows what the file is",
    )


def count_by_reason(table: Mapping[str, str]) -> dict[str, int]:
    """Count keys by what happened to them.

    >>> count_by_reason({"a": "unused", "b": "unused"})
    {'unused': 2}
    """
    return dict(Counter(table.values()))
