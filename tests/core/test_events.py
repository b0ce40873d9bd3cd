"""Events are immutable."""

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import get_args

import pytest

from animdiff_cli.core.events import (
    BytesReceived,
    Checking,
    Downloaded,
    Downloading,
    Event,
    FramesDecoded,
    Loading,
    Measuring,
    Note,
    Prepared,
    Saved,
    StepDone,
    Trained,
    WindowDone,
    Writing,
    Written,
)

EVENTS = (
    Loading("pocket"),
    StepDone(1, 20),
    WindowDone(1, 11, 1, 20),
    FramesDecoded(1, 16),
    Measuring("a.gif", 1, 2),
    Writing(Path("a.gif")),
    Written(Path("a.gif"), 5),
    Downloading(2, 10),
    BytesReceived("a.ckpt", 1, 5),
    Downloaded("a.ckpt", 5),
    Prepared("videos", 1, 4),
    Checking("mm-v3", 5),
    Trained(3, 20, 0.1, 1e-4, 0),
    Saved(Path("step-3.pt"), 3),
    Note("x"),
)


def test_the_examples_cover_every_event():
    assert {type(event) for event in EVENTS} == set(get_args(Event))


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_is_immutable(event):
    name = type(event).__slots__[0]
    with pytest.raises(FrozenInstanceError):
        setattr(event, name, None)
