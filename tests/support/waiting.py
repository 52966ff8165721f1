"""Waiting for things to become true, with a deadline: no story sleeps and hopes."""
import os
import time

EASY = 4  # tasks that want a processor, a processor: so many a machine with other stories beside this one has


def stretched(seconds):
    """A bound of time as it may be held against a gateway on a machine that has more to do than that: in proportion to the load."""
    return seconds * max(1.0, os.getloadavg()[0] / (EASY * os.cpu_count()))


def wait_until(condition, timeout, why, every=0.1):
    """Returns the first true value of `condition()`; fails the test after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout} s: {why} (last: {value!r})")
        time.sleep(every)


def never(condition, during, why, every=0.1):
    """`condition()` stays false for `during` seconds."""
    deadline = time.monotonic() + during
    while time.monotonic() < deadline:
        value = condition()
        assert not value, f"{why}: {value!r}"
        time.sleep(every)
