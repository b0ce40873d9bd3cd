"""Fit the curves that laws of motion trace to a signal, and say how much of the signal they explain."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted curve: how large its motion is and how much of the signal it explains (R², at most 1).

    `size` is the slope per second of a line, the amplitude of a wave, the height of a bounce.
    """

    size: float
    explains: float


def line(signal: np.ndarray, fps: float) -> Fit:
    """Fit a straight line.

    >>> round(line(np.array([0.0, 1.0, 2.0]), fps=8.0).size, 6)
    8.0
    """
    times = _times(signal, fps)
    return _solve(np.stack([np.ones_like(times), times], axis=1), signal, (1,))


def wave(signal: np.ndarray, fps: float, periods_s: tuple[float, float], *, frames: np.ndarray | None = None) -> Fit:
    """Fit a sine whose period lies between two bounds, looking only at the `frames` marked True ([F], all of them)."""
    times = _times(signal, fps)
    if frames is not None:
        times, signal = times[frames], signal[frames]
    fits = (
        _solve(np.stack([np.ones_like(times), np.sin(turn * times), np.cos(turn * times)], axis=1), signal, (1, 2))
        for turn in 2 * math.pi / np.geomspace(*periods_s, 15)
    )
    return _best(fits)


def bounces(signal: np.ndarray, fps: float, periods_s: tuple[float, float]) -> Fit:
    """Fit parabolas that follow each other without a pause, of one height and period."""
    times = _times(signal, fps)
    flights = (
        (times / period + start) % 1.0 for period in np.geomspace(*periods_s, 15) for start in np.arange(0, 1, 1 / 16)
    )
    return _best(
        _solve(np.stack([np.ones_like(times), 4 * flight * (1 - flight)], axis=1), signal, (1,)) for flight in flights
    )


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Correlate two signals: -1 to 1, and 0 where one of them does not change."""
    if one.std() < 1e-9 or other.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _times(signal: np.ndarray, fps: float) -> np.ndarray:
    return np.arange(len(signal)) / fps


def _best(fits: Iterable[Fit]) -> Fit:
    return max(fits, key=lambda fit: fit.explains)


def _solve(columns: np.ndarray, signal: np.ndarray, size_of: tuple[int, ...]) -> Fit:
    """Least squares; the size is the norm of the coefficients `size_of`, signed where it is only one."""
    coefficients, *_ = np.linalg.lstsq(columns, signal, rcond=None)
    rest = signal - columns @ coefficients
    variance = float(((signal - signal.mean()) ** 2).sum())
    picked = coefficients[list(size_of)]
    size = float(picked[0]) if len(size_of) == 1 else float(np.linalg.norm(picked))
    return Fit(size=size, explains=1 - float((rest**2).sum()) / max(variance, 1e-12))
