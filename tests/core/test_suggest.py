"""Did you mean …?"""

from animdiff_cli.core.suggest import closest, did_you_mean


def test_a_slip_finds_the_word_that_was_meant_whatever_its_case():
    assert closest("ToonYuo", ["lyriel", "toonyou"]) == "toonyou"


def test_nothing_near_gives_the_other_hint():
    assert did_you_mean("xyzzy", ["steps"], otherwise="look around") == "look around"
