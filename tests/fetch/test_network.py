"""Retry delays: exponential, bounded, and at least as long as Retry-After."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.errors import UsageError
from animdiff_cli.fetch.network import Network, RetryPolicy, retry_after_s


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


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\t\n"])
def test_a_token_loses_its_line_end(end, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", f"hf_a{end}")
    network = Network.from_environment({"CIVITAI_TOKEN": f"civ{end}"})
    assert (network.hub_token, network.civitai_token) == ("hf_a", "civ")
    assert Network.from_environment({"CIVITAI_TOKEN": end}).civitai_token is None


@pytest.mark.parametrize("token", ["SECRET\r\nX-Header: 1", "SECRET ключ", "SEC\x00RET", "SECRET\x1b[2J", "SEC RET"])
@pytest.mark.parametrize("name", ["CIVITAI_TOKEN", "CIVITAI_API_TOKEN", "HF_TOKEN"])
def test_a_token_that_no_header_can_hold_is_refused_and_not_shown(token, name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token if name == "HF_TOKEN" else None)
    with pytest.raises(UsageError, match=name) as refusal:
        Network.from_environment({name: token})
    assert "SEC" not in f"{refusal.value}"
    assert f"export {name}=…" in (refusal.value.hint or "")


@pytest.mark.parametrize("url", ["hub.example", "ftp://hub.example", "https://", "https://[::1", "https://h:99999"])
@pytest.mark.parametrize("name", ["HF_ENDPOINT", "ANIMDIFF_CIVITAI_ENDPOINT"])
def test_an_endpoint_that_is_not_a_url_is_refused(name, url):
    with pytest.raises(UsageError, match=f"`{name}` is not a URL"):
        Network.from_environment({name: url})


def test_an_unencrypted_endpoint_on_another_machine_is_refused_unless_allowed():
    mirror = {"HF_ENDPOINT": "http://mirror.example"}
    with pytest.raises(UsageError, match="not encrypted"):
        Network.from_environment(mirror)
    assert Network.from_environment(mirror | {"ANIMDIFF_ALLOW_HTTP": "1"}).hub == "http://mirror.example"
    assert Network.from_environment({"HF_ENDPOINT": "http://localhost:8000/"}).hub == "http://localhost:8000"
