"""The pocket tokenizer takes any text and comes back from disk the same."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.pocket.data import sample_captions
from tools.pocket.tokenizer import build_tokenizer, byte_alphabet, learn_merges, load_tokenizer, merge

TOKENIZER = build_tokenizer(sample_captions(300))


@given(st.text(max_size=60))
def test_any_unicode_text_tokenises_between_start_and_end(text):
    ids = TOKENIZER(text).input_ids
    assert ids[0] == TOKENIZER.bos_token_id
    assert ids[-1] == TOKENIZER.eos_token_id
    assert all(0 <= token < len(TOKENIZER) for token in ids)


@pytest.mark.parametrize("text", ["日本", "Zürich", "naïve ☂", "a red rocket!"])
def test_strange_letters_are_spelled_out_not_lost(text):
    spelled = TOKENIZER.decode(TOKENIZER(text).input_ids, skip_special_tokens=True)
    assert spelled.replace(" ", "") == text.lower().replace(" ", "")


def test_every_word_of_the_world_is_one_token():
    tokens = TOKENIZER.tokenize("a red rocket in the night sky")
    assert tokens == ["a</w>", "red</w>", "rocket</w>", "in</w>", "the</w>", "night</w>", "sky</w>"]


def test_saved_tokenizer_comes_back_with_the_same_ids(tmp_path: Path):
    TOKENIZER.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert len(loaded) == len(TOKENIZER)
    assert loaded.model_max_length == 77
    for text in ("a blue fish", "Zebra ☂", ""):
        assert loaded(text, padding="max_length").input_ids == TOKENIZER(text, padding="max_length").input_ids


def test_folder_without_tokenizer_is_refused(tmp_path: Path):
    with pytest.raises((ValueError, OSError)):
        load_tokenizer(tmp_path)


def test_alphabet_gives_each_byte_its_own_character():
    assert len(set(byte_alphabet().values())) == 256


def test_most_frequent_pair_is_merged_first():
    words = Counter({("l", "o", "w</w>"): 5, ("n", "o", "w</w>"): 2, ("l", "i", "t</w>"): 1})
    assert learn_merges(words, 2) == [("o", "w</w>"), ("l", "ow</w>")]


@given(st.lists(st.sampled_from("ab"), max_size=12))
def test_merging_keeps_the_spelling(symbols):
    assert "".join(merge(tuple(symbols), ("a", "b"))) == "".join(symbols)
