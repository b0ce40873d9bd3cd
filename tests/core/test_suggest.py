"""Suggestions for typos."""

from animdiff_cli.core.suggest import closest, did_you_mean


def test_a_typo_finds_the_closest_word_ignoring_case():
    assert closest("ToonYuo", ["lyriel", "toonyou"]) == "toonyou"


def test_without_a_close_word_the_other_hint_is_returned():
    assert did_you_mean("xyzzy", ["steps"], otherwise="look around") == "look around"
