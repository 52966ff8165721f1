"""A slow RS-485 bus of the stories: libmodbus units on it, and what its wire says when all is over."""
import json
import statistics
import sys

from support.machine import PEERS, Process
from support.truth import TruthUnits
from support.waiting import wait_until


class Rs485(Process):
    def __init__(self, folder, name, units, baud=9600):
        """`units` have a pty each; who is to answer is started by `power`."""
        self.folder, self.name, self.baud = folder, name, baud
        self.master = folder / f"{name}-master"
        self.links = {unit: folder / f"{name}-{unit}" for unit in units}
        self.book = folder / f"{name}.jsonl"
        super().__init__([sys.executable, PEERS / "rs485.py", self.master, *(f"{unit}={link}" for unit, link in self.links.items()),
                          "--baud", baud, "--ledger", self.book], folder / f"{name}.log")
        wait_until(lambda: all(link.exists() for link in (self.master, *self.links.values())), 10, f"the ptys of {name}", every=0.02)

    def power(self, units):
        """These units answer from now on; `.stop(SIGKILL)` cuts their power."""
        return TruthUnits(self.folder, [f"rtu:{unit}:{self.links[unit]}" for unit in units])

    def ledger(self):
        """Ends the bus and reads what went over it."""
        self.stop()
        return [json.loads(line) for line in self.book.read_text().splitlines()]


def asked_at(ledger, unit):
    """When this unit was asked for the points of its profile: markers and probes have other shapes, so the commonest question counts."""
    asked = {}
    for fact in ledger:
        if fact["from"] == "master" and int(fact["frame"][:2], 16) == unit:
            asked.setdefault(fact["frame"], []).append(fact["sent"])
    return max(asked.values(), key=len, default=[])


class Periods:
    """The achieved periods of several units between two moments."""

    def __init__(self, times, since, until):
        windows = [[t for t in asked if since <= t <= until] for asked in times]
        self.gaps = sorted(b - a for window in windows for a, b in zip(window, window[1:]))
        # from the window's ends too: a unit that is left alone to the end has a long period
        self.means = [(until - since) / max(len(window), 1) for window in windows]

    @property
    def mean(self):
        return statistics.mean(self.means)

    def __str__(self):
        gaps = self.gaps or [float("inf")]
        return f"period {self.mean:.3f} s (unit by unit {min(self.means):.3f} to {max(self.means):.3f}), p95 {gaps[int(0.95 * (len(gaps) - 1))]:.3f}, worst {gaps[-1]:.3f}"


def busy(ledger, since, until, character):
    """Which share of the time the line was used: frames, the slaves' own time to answer, and the 3.5 characters between frames. What our
    own relay was late with is nobody's: between a reply's real arrival and the next request the master alone counts."""
    facts = [fact for fact in ledger if since <= fact["begun"] and fact["ended"] <= until]
    used = wasted = 0.0
    for before, after in zip(facts, facts[1:]):
        used += before["ended"] - before["begun"]
        gap = max(0.0, after["begun"] - before["delivered"])
        if before["from"] == "master" and after["from"] != "master":
            used += gap  # the slave's own time
        else:
            used += min(gap, 3.5 * character)
            wasted += max(0.0, gap - 3.5 * character)
    return used / (used + wasted)
