"""Waiting for things to become true, with a deadline: no story sleeps and hopes."""
import time


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
