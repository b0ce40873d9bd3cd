"""Long prompts: cut tokens into chunks of 75, the positions of CLIP's text model between start and end."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

CHUNK = 75
COMMA_REACH = 20  # tokens: a full chunk ends at a comma that is not farther back than this


@dataclass(frozen=True, slots=True)
class WeightedToken:
    """One token of a prompt and the factor for its embedding."""

    id: int
    weight: float = 1.0


Chunk = tuple[WeightedToken, ...]


def chunked(
    tokens: Sequence[WeightedToken], *, comma: int | None = None, continued: Collection[int] = frozenset()
) -> list[Chunk]:
    """Cut the tokens of one part of a prompt into chunks of at most 75, as A1111 does. No tokens give one empty chunk.

    A full chunk ends after a `comma` among its last 20 tokens if there is one. Tokens in `continued` are never first in
    a chunk: they belong to the token before, as the vectors of a textual inversion do.

    >>> [len(chunk) for chunk in chunked([WeightedToken(7)] * 80)]
    [75, 5]
    """
    chunks: list[Chunk] = []
    rest = list(tokens)
    while len(rest) > CHUNK:
        end = _end(rest, comma, continued)
        chunks.append(tuple(rest[:end]))
        rest = rest[end:]
    return [*chunks, tuple(rest)]


def _end(tokens: Sequence[WeightedToken], comma: int | None, continued: Collection[int]) -> int:
    """Return the length of the first chunk of more than 75 tokens."""
    following = tokens[CHUNK].id
    if following in continued:
        return next((at for at in range(CHUNK - 1, 0, -1) if tokens[at].id not in continued), CHUNK)
    if following == comma:
        return CHUNK
    return next((at + 1 for at in range(CHUNK - 1, CHUNK - COMMA_REACH - 1, -1) if tokens[at].id == comma), CHUNK)
