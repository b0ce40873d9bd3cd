"""Waiting: longer each time, never for ever, and as long as a server asks for."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.fetch.retry import RetryPolicy, asked_wait_s


@given(st.integers(1, 100), st.floats(0, 1e4))
def test_a_wait_is_bounded_and_ends(tries, asked):
    wait = RetryPolicy().wait_s(tries, asked)
    assert (wait is None) == (tries >= 6 or asked > 300)
    assert wait is None or asked <= wait <= max(30, asked)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("Wed, 01 Jan 2025 00:00:30 GMT", 30),
        ("Tue, 31 Dec 2024 23:59:00 GMT", 0),
        ("Wed, 01 Jan 2025 00:00:30 -0000", 30),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_both_spellings_of_retry_after_are_read(value, seconds):
    assert asked_wait_s({"Retry-After": value}, now=datetime(2025, 1, 1, tzinfo=UTC)) == seconds


def test_a_server_that_does_not_ask_is_not_waited_for():
    assert asked_wait_s({}) is None
