"""How long to wait before another try: decisions only, no clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to give up on a server. Times in seconds."""

    connect_s: float = 10.0
    stall_s: float = 30.0  # without one byte arriving
    tries: int = 6  # in a row that bring nothing
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    longest_asked_wait_s: float = 300.0  # a server that asks for more is given up on

    def wait_s(self, tries: int, asked_s: float | None = None) -> float | None:
        """Say how long to wait after `tries` vain tries, 1 or more; None means to give up.

        Doubles each time. A server's own wish (Retry-After) comes first where it is longer.

        >>> [RetryPolicy().wait_s(tries) for tries in (1, 2, 3, 6)]
        [0.5, 1.0, 2.0, None]
        """
        if tries >= self.tries or (asked_s or 0) > self.longest_asked_wait_s:
            return None
        own_s: float = min(self.first_wait_s * 2 ** (tries - 1), self.longest_wait_s)
        return max(own_s, asked_s or 0)


def asked_wait_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Read Retry-After, given in seconds or as a date; None where it is absent or unreadable.

    >>> asked_wait_s({"Retry-After": "7"})
    7.0
    """
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((aware - (now or datetime.now(UTC))).total_seconds(), 0.0)
