import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.pocket.curve_fitting import agreement, bounces, line, wave

TIMES = np.arange(16) / 8
sizes, offsets = st.floats(0.05, 5), st.floats(-3, 3)


@settings(max_examples=25, deadline=None)
@given(slope=sizes, offset=offsets)
def test_a_line_is_recognised_with_its_slope(slope, offset):
    fit = line(offset + slope * TIMES, fps=8)
    assert fit.size == pytest.approx(slope)
    assert fit.explains == pytest.approx(1)


@settings(max_examples=25, deadline=None)
@given(amplitude=sizes, offset=offsets, period=st.floats(1.3, 2.0), phase=st.floats(0, math.tau))
def test_a_sine_is_recognised_with_its_amplitude(amplitude, offset, period, phase):
    fit = wave(offset + amplitude * np.sin(math.tau * TIMES / period + phase), fps=8, periods_s=(1.2, 2.1))
    assert fit.size == pytest.approx(amplitude, rel=0.1)
    assert fit.explains > 0.99


@settings(max_examples=25, deadline=None)
@given(height=sizes, period=st.floats(0.85, 1.1), start=st.floats(0, 1))
def test_bounces_are_recognised_with_their_height(height, period, start):
    flight = (TIMES / period + start) % 1
    fit = bounces(4 * height * flight * (1 - flight), fps=8, periods_s=(0.8, 1.2))
    assert fit.size == pytest.approx(height, rel=0.15)
    assert fit.explains > 0.93


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_fit_explains_more_than_everything(seed):
    noise = np.random.default_rng(seed).normal(size=16)
    for fit in (line(noise, 8), wave(noise, 8, (1, 2)), bounces(noise, 8, (0.8, 1.2))):
        assert fit.explains <= 1 + 1e-9


def test_frames_left_out_of_a_wave_do_not_count():
    signal = np.sin(math.tau * TIMES / 1.5)
    spoilt = np.where(np.arange(16) == 5, 100.0, signal)
    assert wave(spoilt, 8, (1.2, 1.9), frames=np.arange(16) != 5).explains > 0.99


def test_a_signal_that_never_changes_agrees_with_nothing():
    assert agreement(np.ones(16), TIMES) == 0
    assert agreement(TIMES, -TIMES) == pytest.approx(-1)
