"""Prefetching changes only when items are loaded."""

import threading

import pytest

from animdiff_cli.training.data.prefetch import prefetch


def test_the_next_item_loads_while_the_current_one_is_used():
    loaded = [threading.Event() for _ in range(3)]

    def load(number):
        loaded[number].set()
        return number

    for number in (found := prefetch(load, range(3))):
        assert number == 2 or loaded[number + 1].wait(10)
    assert list(found) == []


def test_an_exception_is_raised_at_its_item():
    results = prefetch(lambda number: 1 // number, [1, 0])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_stopping_early_ends_the_thread():
    results = prefetch(abs, range(10))
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
