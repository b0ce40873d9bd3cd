"""Reading ahead changes nothing but when things are read."""

import threading

import pytest

from animdiff_cli.training.data.prefetch import prefetch


def test_the_next_is_made_while_the_last_is_used():
    made = [threading.Event() for _ in range(3)]

    def make(number):
        made[number].set()
        return number

    for number in (found := prefetch(make, range(3))):
        assert number == 2 or made[number + 1].wait(10)
    assert list(found) == []


def test_a_failure_comes_when_its_turn_does():
    results = prefetch(lambda number: 1 // number, [1, 0])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_stopping_early_leaves_no_thread_behind():
    results = prefetch(abs, range(10))
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
