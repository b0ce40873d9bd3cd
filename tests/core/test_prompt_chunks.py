"""Chunks of long prompts: nothing is lost, inversions stay whole, and the cuts are those of A1111."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.core.prompt_chunks import WeightedToken, chunked

COMMA, WORD, FIRST, NEXT = 1, 2, 3, 4


def tokens(ids):
    return [WeightedToken(number, float(at)) for at, number in enumerate(ids)]


def ids_of(chunks):
    return [[token.id for token in chunk] for chunk in chunks]


#: words, commas, and inversions of 1 to 30 vectors
IDS = st.lists(
    st.one_of(st.just([WORD] * 7), st.just([COMMA]), st.integers(0, 29).map(lambda more: [FIRST] + [NEXT] * more)),
    max_size=40,
)


def token_by_token(pieces):
    """The loop of A1111: fill a chunk, and when it is full, go back to a comma."""
    chunks, chunk, last_comma = [], [], -1
    for piece in pieces:
        for unit in [piece] if piece[0] == FIRST else [[each] for each in piece]:
            if unit == [COMMA]:
                last_comma = len(chunk)
            elif len(chunk) == 75 and last_comma != -1 and len(chunk) - last_comma <= 20:
                chunks.append(chunk[: last_comma + 1])
                chunk, last_comma = chunk[last_comma + 1 :], -1
            if len(chunk) + len(unit) > 75:
                chunks.append(chunk)
                chunk, last_comma = [], -1
            chunk = chunk + unit
    return [*chunks, chunk]


@given(IDS)
def test_chunks_are_those_of_a1111(pieces):
    ids = [number for piece in pieces for number in piece]
    assert ids_of(chunked(tokens(ids), comma=COMMA, continued={NEXT})) == token_by_token(pieces)


@given(IDS)
def test_no_token_is_lost_and_no_inversion_is_cut(pieces):
    given_tokens = tokens([number for piece in pieces for number in piece])
    chunks = chunked(given_tokens, comma=COMMA, continued={NEXT})
    assert [token for chunk in chunks for token in chunk] == given_tokens
    assert all(len(chunk) <= 75 for chunk in chunks)
    assert not any(chunk and chunk[0].id == NEXT for chunk in chunks)


@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (75, [75]), (76, [75, 1]), (150, [75, 75])])
def test_words_fill_chunks(count, sizes):
    assert [len(chunk) for chunk in chunked(tokens([WORD] * count), comma=COMMA)] == sizes


def test_a_full_chunk_ends_at_a_comma_that_is_near():
    near, far = ([WORD] * at + [COMMA] + [WORD] * (79 - at) for at in (55, 54))
    assert [len(chunk) for chunk in chunked(tokens(near), comma=COMMA)] == [56, 24]
    assert [len(chunk) for chunk in chunked(tokens(far), comma=COMMA)] == [75, 5]
