"""A CLIP tokenizer for the pocket model: byte-level BPE trained on captions of the world.

The base alphabet has all 256 bytes, inside a word and at its end, so that any text can be tokenized.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
MAX_LENGTH = 77  # tokens per prompt, as in Stable Diffusion

#: Bytes that print as themselves in GPT-2's and CLIP's byte alphabet; the others follow from U+0100 on.
_PRINTABLE = (*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1))

Pair = tuple[str, str]
Symbols = tuple[str, ...]


def build_tokenizer(captions: Iterable[str], max_merges: int = 600) -> CLIPTokenizer:
    """Learn merges on `captions` and return the tokenizer: 514 base tokens, at most `max_merges` more."""
    return tokenizer_from_merges(learn_merges(count_words(captions), max_merges))


def tokenizer_from_merges(merges: Sequence[Pair]) -> CLIPTokenizer:
    """Lay out the vocabulary as CLIP does: bytes, word-final bytes, merges, start, end."""
    letters = list(byte_alphabet().values())
    endings = [letter + WORD_END for letter in letters]
    tokens = [*letters, *endings, *(left + right for left, right in merges), START, END]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=list(merges), model_max_length=MAX_LENGTH)


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """Load a saved tokenizer. Raises `ValueError` for a folder without one.

    For a missing tokenizer, transformers 5 returns one with two tokens, for which all prompts are the same.
    """
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    if len(tokenizer) < 2 * len(_PRINTABLE) or tokenizer.model_max_length != MAX_LENGTH:
        raise ValueError(f"{folder} holds no usable tokenizer: {len(tokenizer)} tokens")
    return tokenizer


def byte_alphabet() -> dict[int, str]:
    """Map each of the 256 bytes to the character that stands for it in the vocabulary."""
    rest = [byte for byte in range(256) if byte not in _PRINTABLE]
    return {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(256 + index) for index, byte in enumerate(rest)}


def count_words(captions: Iterable[str]) -> Counter[Symbols]:
    """Count the captions' words, each as byte symbols of which the last carries `</w>`."""
    alphabet = byte_alphabet()
    counts: Counter[Symbols] = Counter()
    for word, count in Counter(word for caption in captions for word in _split(caption)).items():
        symbols = [alphabet[byte] for byte in word.encode()]
        counts[(*symbols[:-1], symbols[-1] + WORD_END)] += count
    return counts


def learn_merges(words: Counter[Symbols], max_merges: int) -> list[Pair]:
    """Merge the most frequent pair repeatedly; ties go to the alphabetically first pair."""
    merges: list[Pair] = []
    while len(merges) < max_merges:
        pairs: Counter[Pair] = Counter()
        for symbols, count in words.items():
            for pair in pairwise(symbols):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        words = Counter({merge(symbols, best): count for symbols, count in words.items()})
        merges.append(best)
    return merges


def merge(symbols: Symbols, pair: Pair) -> Symbols:
    """Replace each occurrence of `pair`, from the left.

    >>> merge(("a", "b", "a", "b</w>"), ("a", "b"))
    ('ab', 'a', 'b</w>')
    """
    merged: list[str] = []
    position = 0
    while position < len(symbols):
        hit = symbols[position : position + 2] == pair
        merged.append("".join(pair) if hit else symbols[position])
        position += 2 if hit else 1
    return tuple(merged)


def _split(caption: str) -> list[str]:
    """Split into words and punctuation marks, lower-cased, as CLIP's own pattern does for plain captions."""
    spaced = "".join(letter if letter.isalpha() else f" {letter} " for letter in caption.lower())
    return spaced.split()
