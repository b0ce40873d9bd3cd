"""Which files of a Hub repository make up a model: decided by their names alone.

Repositories hold the same weights several times over: pickles beside safetensors, half precision beside full, single
files beside folders, exports for other frameworks. One copy is enough.
"""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from animdiff_cli.core.model_parts import BASES, MODEL_PARTS
from animdiff_cli.errors import UsageError

#: what a single component may need to read words and pictures
BESIDE_WEIGHTS = (
    "merges.txt",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)
WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")

_WEIGHT_NAME = re.compile(
    r"(?P<stem>[\w-]+?)(?:\.(?P<variant>fp16|bf16|non_ema|ema))?"
    r"(?P<shard>-\d{5}-of-\d{5})?(?:\.(?P<late>fp16|bf16|non_ema))?(?P<suffix>\.safetensors|\.bin)"
)
_COMPONENT_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
_NOT_WEIGHTS = re.compile(r"(?:[\w-]+\.json|merges\.txt|vocab\.txt|spiece\.model)")


def choose_files(names: Iterable[str], repo: str) -> tuple[str, ...]:
    """Choose the files to fetch from a whole repository. Raises UsageError where its names do not say which.

    A pipeline gives its components, a single component its configuration, weights and tokenizer, a repository with
    one weight file that file.
    """
    names = sorted(names)
    if "model_index.json" in names:
        return ("model_index.json", *_pipeline(names, repo))
    root = [name for name in names if "/" not in name]
    if "config.json" in root and (weights := _weights(root)):
        return ("config.json", *weights, *(name for name in root if name in BESIDE_WEIGHTS))
    alone = [name for name in names if name.endswith(WEIGHTS)]
    if len(alone) == 1:
        return (alone[0],)
    if not alone:
        raise UsageError(f"`hf:{repo}` holds no weights", hint="check the name of the repository")
    listed = ", ".join(alone[:3]) + (", …" if len(alone) > 3 else "")
    raise UsageError(f"`hf:{repo}` holds {len(alone)} weight files: {listed}", hint=f"name one: `hf:{repo}/{alone[0]}`")


def _pipeline(names: list[str], repo: str) -> list[str]:
    chosen: list[str] = []
    for part in MODEL_PARTS:
        inside = [name for name in names if PurePosixPath(name).parent.as_posix() == part.name]
        own = [name for name in inside if _NOT_WEIGHTS.fullmatch(PurePosixPath(name).name) and "index" not in name]
        weights = _weights(inside)
        is_essential = part.bases == BASES
        if is_essential and not (own and (weights or part.weights_stem is None)):
            raise UsageError(
                f"`hf:{repo}` has no usable `{part.name}`",
                hint=f"name a single-file checkpoint of it: `hf:{repo}/FILE.safetensors`",
            )
        chosen += own + weights
    return chosen


def _weights(names: Iterable[str]) -> list[str]:
    """Choose one copy of a component's weights: safetensors before pickles, the plain one before variants."""
    copies: dict[tuple[bool, bool, str], list[str]] = {}
    for name in names:
        match = _WEIGHT_NAME.fullmatch(PurePosixPath(name).name)
        if match and match["stem"] in _COMPONENT_STEMS:
            variant = match["variant"] or match["late"] or ""
            copies.setdefault((match["suffix"] != ".safetensors", bool(variant), variant), []).append(name)
    if not copies:
        return []
    best = min(copies)
    sharded = any("-of-" in name for name in copies[best])
    index = [name for name in names if name.endswith(".index.json")] if sharded else []
    suffix = ".safetensors" if not best[0] else ".bin"
    return copies[best] + [name for name in index if suffix in name and (best[2] in name if best[2] else True)]


def stored_name(name: str) -> str:
    """Name a chosen file on this machine: without the mark of a variant, since it is the only copy there.

    >>> stored_name("unet/diffusion_pytorch_model.fp16.safetensors")
    'unet/diffusion_pytorch_model.safetensors'
    """
    folder, slash, last = name.rpartition("/")
    match = _WEIGHT_NAME.fullmatch(last)
    if match is None or match["stem"] not in _COMPONENT_STEMS or match["shard"]:
        return name
    return f"{folder}{slash}{match['stem']}{match['suffix']}"
