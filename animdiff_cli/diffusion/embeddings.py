"""Textual inversion (arXiv 2208.01618): words of a prompt that stand for learned vectors.

As in A1111, the word is the name of the file, ignoring case, and may stand for several tokens.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from animdiff_cli.core.embedding_words import replace_word
from animdiff_cli.core.model_parts import MODEL_PARTS
from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.kind_checks import open_kind
from animdiff_cli.weights.lazy import LazyTensor
from animdiff_cli.weights.lora_names import BUNDLED

#: prefix of the vectors in A1111's pickles, before a placeholder such as `*`; diffusers uses the token as key
A1111_PREFIX = "string_to_param."
#: keys in files of diffusers' advanced training of SDXL
_ADVANCED_KEYS = {"text_encoder": "text_encoders_0", "text_encoder_2": "text_encoders_1"}
#: SDXL files hold one matrix per text encoder
SDXL_KEYS = {part.name: part.embedding_key for part in MODEL_PARTS if part.embedding_key}
#: tokens of one prompt without start and end
MAX_VECTORS = 75
#: matches the tokens of an embedding after its first
CONTINUED = r"<\|[^|]*\|[1-9]\d*\|>"


@dataclass(frozen=True, slots=True)
class Embedding:
    """A word and its vectors by text encoder, each [N, D], not read yet."""

    word: str
    vectors: Mapping[str, LazyTensor]
    token: str | None = None  # the word that the file itself records

    @property
    def words(self) -> tuple[str, ...]:
        """The words of a prompt that stand for it."""
        return (self.word, self.token) if self.token and self.token.lower() != self.word.lower() else (self.word,)

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens that replace the word, one per vector."""
        count = next(iter(self.vectors.values())).shape[0]
        return tuple(f"<|{self.word.lower()}|{number}|>" for number in range(count))


def open_embedding(path: Path, widths: Mapping[str, int], base: str | None, model: Path) -> Embedding:
    """Open a textual inversion for text encoders of these widths.

    Raises `UsageError` if it is of another kind or width, `IntegrityError` if it has no usable vectors.
    """
    file, _ = open_kind(path, "embedding", base=base, model=model)
    return _embedding(path.stem, file.tensors, path.name, widths, model)


def bundled_embeddings(file: WeightFile, widths: Mapping[str, int], model: Path) -> tuple[Embedding, ...]:
    """Open the textual inversions inside a LoRA file, by their names there. Raises as `open_embedding`."""
    found: dict[str, dict[str, LazyTensor]] = {}
    for key, tensor in file.tensors.items():
        if key.startswith(BUNDLED):
            word, _, name = key.removeprefix(BUNDLED).partition(".")
            found.setdefault(word, {})[name] = tensor
    return tuple(_embedding(word, tensors, file.path.name, widths, model) for word, tensors in found.items())


def check_words(embeddings: Sequence[Embedding]) -> None:
    """Raise `UsageError` if two files share a word: by their names, or by the tokens that they record."""
    seen: dict[str, Embedding] = {}
    for embedding in embeddings:
        for word in embedding.words:
            other = seen.setdefault(word.lower(), embedding)
            if other is embedding:
                continue
            if embedding.word.lower() == other.word.lower():
                hint = "rename one of the files: the name is the word"
            else:
                hint = f"`{other.word}` and `{embedding.word}` both have it: leave one of them out"
            raise UsageError(f"the word `{word}` is given twice", hint=hint)


def add_embeddings(
    tokenizer: Any, text_encoder: Any, embeddings: Sequence[Embedding], part: str = "text_encoder"
) -> None:
    """Add the tokens of embeddings to a tokenizer and their vectors to its text encoder."""
    from tokenizers import AddedToken

    known = text_encoder.get_input_embeddings().weight
    rows: list[Tensor] = [known.data]
    for embedding in embeddings:
        tokens = [AddedToken(token, normalized=False, special=True) for token in embedding.tokens]
        if tokenizer.add_tokens(tokens) != len(tokens):
            raise UsageError(
                f"the word `{embedding.word}` is given twice", hint="rename one of the files: the name is the word"
            )
        rows.append(embedding.vectors[part].read().to(known))
    table = nn.Embedding(sum(len(each) for each in rows), known.shape[1], _weight=torch.cat(rows))
    text_encoder.set_input_embeddings(table)
    text_encoder.config.vocab_size = table.num_embeddings
    _set_end_token(text_encoder, tokenizer)


def expand_embeddings(prompt: str, embeddings: Iterable[Embedding]) -> str:
    """Replace the words of embeddings with their tokens."""
    for embedding in embeddings:
        for word in embedding.words:
            prompt = replace_word(prompt, word, embedding.tokens)
    return prompt


def _embedding(
    word: str, tensors: Mapping[str, LazyTensor], source: str, widths: Mapping[str, int], model: Path
) -> Embedding:
    vectors = {name: _matrix(tensor, source) for name, tensor in _by_encoder(tensors, source).items()}
    for name, width in widths.items():
        if name not in vectors or vectors[name].shape[1] != width:
            theirs = f"{vectors[name].shape[1]} numbers wide" if name in vectors else f"no vectors for {name}"
            raise UsageError(
                f"{source} does not fit {model.name}: its tokens are {theirs}, the text encoder reads {width}",
                hint="use a textual inversion that was made for the model's base",
            )
    return Embedding(word, {name: vectors[name] for name in widths}, _token(tensors))


def _by_encoder(tensors: Mapping[str, LazyTensor], source: str) -> dict[str, LazyTensor]:
    if "clip_g" in tensors or "clip_l" in tensors:
        return {encoder: tensors[key] for encoder, key in SDXL_KEYS.items() if key in tensors}
    if "text_encoders_0" in tensors:
        return {part: tensors[key] for part, key in _ADVANCED_KEYS.items() if key in tensors}
    if "emb_params" in tensors:
        return {"text_encoder": tensors["emb_params"]}
    named = [key for key in tensors if key.startswith(A1111_PREFIX)] or [key for key in tensors if tensors[key].shape]
    if len(named) != 1:
        raise IntegrityError(
            f"{source} holds {len(named)} textual inversions", hint="use a file that holds one, named by its word"
        )
    return {"text_encoder": tensors[named[0]]}


def _token(tensors: Mapping[str, LazyTensor]) -> str | None:
    """Return the token that a file of diffusers or A1111 records as the name of its vectors."""
    if len(tensors) != 1:
        return None
    name = next(iter(tensors)).removeprefix(A1111_PREFIX)
    return name if name not in ("*", "emb_params") and len(name) > 1 else None


def _matrix(tensor: LazyTensor, source: str) -> LazyTensor:
    """Return a matrix [N, D], also for a single vector [D]."""
    if len(tensor.shape) == 1:
        width = tensor.shape[0]
        return LazyTensor(tensor.dtype, (1, width), lambda start, stop: tensor.read()[None][start:stop])
    if len(tensor.shape) != 2 or not 1 <= tensor.shape[0] <= MAX_VECTORS:
        raise IntegrityError(
            f"{source} holds a tensor of shape {tensor.shape}, where a textual inversion has up to {MAX_VECTORS}"
            " vectors",
            hint="`animdiff inspect FILE` shows what it is",
        )
    return tensor


def _set_end_token(text_encoder: Any, tokenizer: Any) -> None:
    """Set the end token of old CLIP configs: their default is the largest token id, which the new tokens exceed."""
    for module in text_encoder.modules():
        if getattr(module, "eos_token_id", None) == 2:
            module.eos_token_id = tokenizer.eos_token_id
