"""Retry delays: exponential, bounded, and at least as long as Retry-After."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.fetch.network import RetryPolicy, retry_after_s


@given(st.integers(1, 100), st.floats(0, 1e4))
def test_retry_delays_are_bounded_and_end(failures, retry_after):
    delay = RetryPolicy().delay_s(failures, retry_after)
    assert (delay is None) == (failures >= 6 or retry_after > 300)
    assert delay is None or retry_after <= delay <= max(30, retry_after)


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
def test_parses_both_forms_of_retry_after(value, seconds):
    assert retry_after_s({"Retry-After": value}, now=datetime(2025, 1, 1, tzinfo=UTC)) == seconds


def test_no_delay_without_retry_after():
    assert retry_after_s({}) is None
