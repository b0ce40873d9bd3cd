"""Fit the curves of the laws of motion to a signal, and compute R²."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted curve: its size, and the fraction of the variance it explains (R², at most 1).

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
    """Fit a sine with a period between two bounds, using the frames in the mask `frames` [F] (default: all)."""
    times = _times(signal, fps)
    if frames is not None:
        times, signal = times[frames], signal[frames]
    fits = (
        _solve(np.stack([np.ones_like(times), np.sin(turn * times), np.cos(turn * times)], axis=1), signal, (1, 2))
        for turn in 2 * math.pi / np.geomspace(*periods_s, 15)
    )
    return _best(fits)


def bounces(signal: np.ndarray, fps: float, periods_s: tuple[float, float]) -> Fit:
    """Fit a sequence of equal parabolas without pauses."""
    times = _times(signal, fps)
    flights = (
        (times / period + start) % 1.0 for period in np.geomspace(*periods_s, 15) for start in np.arange(0, 1, 1 / 16)
    )
    return _best(
        _solve(np.stack([np.ones_like(times), 4 * flight * (1 - flight)], axis=1), signal, (1,)) for flight in flights
    )


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two signals, -1 to 1; 0 if one is constant."""
    if one.std() < 1e-9 or other.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _times(signal: np.ndarray, fps: float) -> np.ndarray:
    return np.arange(len(signal)) / fps


def _best(fits: Iterable[Fit]) -> Fit:
    return max(fits, key=lambda fit: fit.explains)


def _solve(columns: np.ndarray, signal: np.ndarray, size_of: tuple[int, ...]) -> Fit:
    """Solve least squares; the size is the norm of the coefficients `size_of`, with the sign of a single one."""
    coefficients, *_ = np.linalg.lstsq(columns, signal, rcond=None)
    rest = signal - columns @ coefficients
    variance = float(((signal - signal.mean()) ** 2).sum())
    picked = coefficients[list(size_of)]
    size = float(picked[0]) if len(size_of) == 1 else float(np.linalg.norm(picked))
    return Fit(size=size, explains=1 - float((rest**2).sum()) / max(variance, 1e-12))
