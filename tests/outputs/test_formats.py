"""Every row of the table of formats has what it needs: a writer, an encoder, a reader of its recipe."""

import pytest

from animdiff_cli.core.formats import CLIP_SUFFIXES, FORMATS
from animdiff_cli.outputs import provenance, video
from animdiff_cli.outputs.ffmpeg import list_encoders
from animdiff_cli.outputs.write import WRITERS


def test_every_format_has_a_writer():
    assert list(WRITERS) == list(FORMATS)


def test_every_carrier_has_a_reader():
    assert set(provenance._READERS) == {row.carrier for row in FORMATS.values()}


def test_every_format_can_be_evaluated():
    assert {suffix for row in FORMATS.values() for suffix in row.suffixes if suffix} <= CLIP_SUFFIXES


def test_the_bundled_ffmpeg_has_every_encoder():
    _, encoders = list_encoders()
    assert {row.encoder for row in FORMATS.values() if row.encoder} <= encoders


@pytest.mark.parametrize(("name", "codec"), [("mp4", video.MP4), ("webm", video.WEBM)])
def test_videos_are_written_with_the_encoder_of_the_table(name, codec):
    assert codec.options[:2] == ("-c:v", FORMATS[name].encoder)
