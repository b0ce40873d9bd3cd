"""Rates of earlier renders: kept, chosen, and never in the way of a render."""

import json
from dataclasses import asdict, replace

import pytest

from animdiff_cli import paths
from animdiff_cli.core.events import StepDone
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.jobs import rates as store
from animdiff_cli.jobs import timer as timing
from animdiff_cli.jobs.cost import ClipCost
from animdiff_cli.jobs.rates import Rate, best_rate, machine_name, read_rates, remember_rate
from animdiff_cli.jobs.timer import ClipTimer

RATE = Rate("cpu x", 16, 3.2e10, 0.5, 1e9, 0.02, 1e7, 2.0)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANIMDIFF_CACHE", str(tmp_path))
    return tmp_path / "rates.json"


def test_the_newest_rate_of_the_same_work_is_kept():
    other = replace(RATE, frames=8)
    for rate in (RATE, other, replace(RATE, call_seconds=0.25)):
        remember_rate(rate)
    assert read_rates() == [replace(RATE, call_seconds=0.25), other]


def test_the_file_stays_small():
    for number in range(1, store.MAX_RATES + 5):
        remember_rate(replace(RATE, frames=number))
    assert [rate.frames for rate in read_rates()] == list(range(store.MAX_RATES + 4, 4, -1))


@pytest.mark.parametrize(
    "text",
    ["", "[", "{}", "[1, null, {}]", json.dumps([asdict(RATE) | {"frames": "16"}, asdict(RATE) | {"flops": 1}])],
)
def test_a_damaged_file_is_an_empty_one(cache, text):
    cache.write_text(text)
    assert read_rates() == []
    remember_rate(RATE)
    assert read_rates() == [RATE]


def test_a_cache_that_cannot_be_written_is_no_error(cache):
    cache.mkdir()
    remember_rate(RATE)
    assert read_rates() == []


def test_a_time_that_cannot_be_is_not_kept():
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        remember_rate(replace(RATE, call_seconds=wrong))
    assert read_rates() == []


def test_the_most_similar_call_of_this_machine_is_chosen():
    larger, elsewhere = replace(RATE, frames=64, call_flops=12.8e10), replace(RATE, machine="cuda y")
    known = [elsewhere, larger, RATE]
    assert best_rate(known, "cpu x", 16, 3.0e10) == RATE
    assert best_rate(known, "cpu x", 100, 20e10) == larger
    assert best_rate(known, "cpu x", 16, 320e10) is None
    assert best_rate(known, "cpu z", 16, 3.2e10) is None


def test_threads_and_dtype_are_part_of_the_machine():
    names = {machine_name(DevicePlan("cpu", 0, dtype)) for dtype in ("fp32", "bf16")}
    assert len(names) == 2 and all("thread" in name for name in names)
    assert paths.cache_dir().exists()


def test_a_clip_is_timed_by_its_events(monkeypatch):
    """Setup 2 s, then 4 steps of 2 windows at 0.5 s a call, then 16 frames at 0.25 s."""
    clock = iter([10.0, 13.0, 16.0, 20.0])
    monkeypatch.setattr(timing.time, "monotonic", lambda: next(clock))
    timer = ClipTimer(DevicePlan("cpu", 0, "fp32"))
    for step in range(1, 5):
        timer(StepDone(step, 4))
    cost = ClipCost((2,) * 4, 8, 16, 3.2e10, 2, 6.4e10, 0, 16, 10**9, 10**7, 1)
    rate = timer.rate(cost)
    assert (rate.call_seconds, rate.frame_seconds, rate.setup_seconds) == pytest.approx((0.5, 0.25, 2.0))
    assert cost.seconds(rate) + rate.setup_seconds == pytest.approx(10.0)


def test_one_step_is_too_few_to_time():
    timer = ClipTimer(DevicePlan("cpu", 0, "fp32"))
    timer(StepDone(1, 1))
    assert timer.rate(ClipCost((1,), 1, 16, 1.0, 1, 1.0, 0, 16, 1, 1, 1)) is None
