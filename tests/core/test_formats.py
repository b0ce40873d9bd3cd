"""The table of output formats is complete and free of contradictions."""

from pathlib import Path
from typing import get_args

import pytest

from animdiff_cli.core.formats import BY_SUFFIX, FORMATS, MEDIA_TYPES, Format, RecipeCarrier, format_of, parse_format
from animdiff_cli.errors import UsageError


def test_every_name_of_the_type_has_a_row():
    assert tuple(FORMATS) == get_args(Format)


def test_no_two_formats_share_a_suffix():
    assert len(BY_SUFFIX) == sum(len(row.suffixes) for row in FORMATS.values())


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_found_by_its_name_and_its_suffix(name):
    assert parse_format(name) == name
    assert format_of(Path(f"clip{FORMATS[name].suffix}")) == name


@pytest.mark.parametrize("name", FORMATS)
def test_every_row_names_a_known_carrier_and_a_media_type(name):
    assert FORMATS[name].carrier in get_args(RecipeCarrier)
    assert FORMATS[name].is_folder or MEDIA_TYPES[FORMATS[name].suffix].startswith(("image/", "video/"))


def test_an_unknown_format_gets_a_suggestion():
    with pytest.raises(UsageError, match="unknown output format `weebm`") as refusal:
        parse_format("weebm")
    assert refusal.value.hint == "did you mean `webm`?"
