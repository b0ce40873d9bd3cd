"""Local paths and URLs: which is which, and how the parts of a URL are read."""

from pathlib import Path

import pytest

from animdiff_cli.errors import UsageError
from animdiff_cli.storage.location import RemotePath, location
from animdiff_cli.storage.outputs import output_location


@pytest.mark.parametrize(
    "url", ["s3://bucket/night/fox.gif", "gs://b/x", "sftp://me@host:22/clips/fox.gif", "abfs://c@account/x", "s3://b"]
)
def test_a_url_stays_as_it_was_typed(url):
    assert str(location(url)) == str(location(Path(url))) == str(location(location(url))) == url
    assert isinstance(location(url), RemotePath)


def test_parts_of_a_url_are_those_of_a_path():
    path = location("s3://bucket/night/fox.gif")
    assert (path.name, path.suffix, path.stem, path.scheme) == ("fox.gif", ".gif", "fox", "s3")
    assert str(path.parent) == "s3://bucket/night"
    assert str(path.with_name("hen.mp4")) == "s3://bucket/night/hen.mp4"
    assert str(path.parent / "a" / "00000.png") == "s3://bucket/night/a/00000.png"
    assert path == RemotePath("s3://bucket/night") / "fox.gif"
    assert {path: 1}[location("s3://bucket/night/fox.gif")] == 1


@pytest.mark.parametrize("name", ["fox.gif", "night/fox.gif", "./s3/x", "C:/x.gif", "a:b", "/data/s3:/x"])
def test_other_names_are_local(name):
    assert location(name) == Path(name)


def test_file_urls_are_local_and_home_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home-of-me")
    assert location("file:///data/fox.gif") == Path("/data/fox.gif")
    assert location("~/fox.gif") == Path("/home-of-me/fox.gif")


@pytest.mark.parametrize(
    ("url", "message", "hint"),
    [
        ("htps://host/x", "`htps:` is not a known kind of URL", "`https:`"),
        ("s3://KEY:SECRET@bucket/x", "credentials", "remove the user name and password"),
        ("sftp://me:SECRET@host/x", "credentials", "remove the user name and password"),
        ("https://host/x?token=SECRET", "credentials", ""),
        ("http://host/x", "not encrypted", "https:"),
    ],
)
def test_an_unusable_url_is_refused_with_a_hint(url, message, hint):
    with pytest.raises(UsageError, match=message) as refusal:
        location(url)
    assert hint in refusal.value.hint
    assert "SECRET" not in str(refusal.value) + refusal.value.hint


def test_nothing_is_written_to_a_web_server():
    with pytest.raises(UsageError, match="web server"):
        output_location("https://host/night/")
